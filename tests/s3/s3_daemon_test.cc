// The S3 endpoint of the real daemon: keys from the command line, files of the mount as objects, and clients as people use them.
//
// A client is a script of this folder; it runs with the Python that scripts/setup --with-clients made, or that WEIR_PYTHON names.
// WEIR_S3_FULL=1: at full size, which takes minutes (run the binary itself then: ctest would not wait so long).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <tuple>

#include "net/digest.h"
#include "net/encoding.h"
#include "s3/test_client.h"
#include "tests/cli/weir_binary.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using s3::TestClient;
using s3::TestResponse;

constexpr auto kPatience = std::chrono::seconds(60);

class S3Daemon : public ::testing::Test {
 protected:
  void TearDown() override {
    if (HasFailure()) std::cerr << "--- the daemon's log\n" << daemon_.log();
  }

  void start() {
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    const Ended added = daemon_.weir("mount-table add /s3 file://" + (daemon_.home() / "bucket").string());
    ASSERT_EQ(added.exit_code, 0) << added.err;
  }

  std::string script_output(const std::string& script) const {
    std::string out = daemon_.script(script).out;
    while (out.ends_with('\n')) out.pop_back();
    return out;
  }
  // A value of a JSON document that the command writes: python's syntax behind the document.
  std::string json(const std::string& command, const std::string& path) const {
    return script_output("weir --json " + command + " | python3 -c 'import json,sys; print(json.load(sys.stdin)" + path + ")'");
  }

  uint16_t port() const { return static_cast<uint16_t>(std::stoi(json("status", "[\"s3\"][\"url\"].rsplit(\":\")[-1]"))); }
  net::Credentials first_key() const {
    return {json("s3 key list --secrets", "[\"keys\"][0][\"access_key\"]"), json("s3 key list --secrets", "[\"keys\"][0][\"secret_key\"]"), ""};
  }
  TestClient client() const { return TestClient(port(), first_key()); }

  // The Python of one environment of scripts/setup, or nothing.
  static std::optional<std::string> python(const std::string& environment) {
    const char* given = std::getenv("WEIR_PYTHON");
    const std::string binary = given != nullptr ? given : WEIR_DEPS_DIR "/" + environment + "/bin/python";
    if (::access(binary.c_str(), X_OK) != 0) return std::nullopt;
    return binary;
  }

  WeirDaemon daemon_;
};

TEST_F(S3Daemon, the_first_key_is_made_once_and_kept_from_others) {
  start();
  const net::Credentials key = first_key();
  EXPECT_FALSE(key.secret_key.empty());
  struct stat st{};
  ASSERT_EQ(::stat((daemon_.home() / "volume/s3.keys").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_EQ(client().get("/").status, 200);
  EXPECT_THAT(daemon_.log(), Not(HasSubstr(key.secret_key)));
  EXPECT_THAT(daemon_.log(), HasSubstr(key.access_key));
  EXPECT_THAT(daemon_.weir("s3 key list").out, Not(HasSubstr(key.secret_key)));
  daemon_.kill();
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_EQ(first_key(), key);
  daemon_.stop();
  ASSERT_EQ(::chmod((daemon_.home() / "volume/s3.keys").c_str(), 0644), 0);
  EXPECT_THAT(daemon_.start_refused().err, HasSubstr("0600"));
}

// Semantics 8.1.
TEST_F(S3Daemon, keys_are_in_force_as_soon_as_they_are_added_and_no_longer_than_they_are_there) {
  start();
  EXPECT_EQ(client().put("/s3/docs/a", "content").status, 200);
  EXPECT_EQ(client().put("/s3/b", "content").status, 200);
  const Ended added = daemon_.weir("s3 key add --access-key READER --secret-key readers-secret --bucket s3 --prefix docs/ --read-only");
  ASSERT_EQ(added.exit_code, 0) << added.err;
  EXPECT_THAT(added.out, HasSubstr("AWS_SECRET_ACCESS_KEY=readers-secret"));
  EXPECT_THAT(daemon_.weir("s3 key list").out, HasSubstr("s3/docs/, read only"));
  TestClient reader(port(), {"READER", "readers-secret", ""});
  EXPECT_EQ(reader.get("/s3/docs/a").body, "content");
  EXPECT_EQ(reader.get("/s3/b").status, 403);
  EXPECT_EQ(reader.put("/s3/docs/a", "other").status, 403);
  EXPECT_NE(daemon_.weir("s3 key add --access-key READER --secret-key another-one").exit_code, 0);
  EXPECT_NE(daemon_.weir("s3 key add --secret-key short").exit_code, 0);
  EXPECT_EQ(daemon_.weir("s3 key remove READER").exit_code, 0);
  EXPECT_EQ(reader.get("/s3/docs/a").status, 403);
  EXPECT_NE(daemon_.weir("s3 key remove READER").exit_code, 0);
}

// Semantics 7.1, 8.5.
TEST_F(S3Daemon, objects_and_files_are_the_same) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
  daemon_.set("fuse.mount.point", daemon_.mount_point());
  start();
  TestClient s3 = client();
  EXPECT_EQ(s3.put("/s3/dir/put", "by S3").header("x-weir-state"), "NOT_PERSISTED");
  EXPECT_EQ(script_output("cat $MNT/s3/dir/put"), "by S3");
  ASSERT_EQ(daemon_.script("echo by POSIX >$MNT/s3/dir/written; mkdir $MNT/s3/made").exit_code, 0);
  EXPECT_EQ(s3.get("/s3/dir/written").body, "by POSIX\n");
  EXPECT_THAT(s3.get("/s3/dir/written").header("etag"), HasSubstr("-"));
  const std::string listed = s3.get("/s3?list-type=2").body;
  for (const char* key : {"<Key>dir/put</Key>", "<Key>dir/written</Key>", "<Key>made/</Key>"}) EXPECT_THAT(listed, HasSubstr(key));
  ASSERT_EQ(daemon_.script("mv $MNT/s3/dir/put $MNT/s3/moved; rm $MNT/s3/dir/written").exit_code, 0);
  EXPECT_EQ(s3.get("/s3/moved").body, "by S3");
  EXPECT_EQ(s3.get("/s3/dir/put").status, 404);
  EXPECT_EQ(s3.get("/s3/dir/written").status, 404);
  EXPECT_EQ(s3.erase("/s3/moved").status, 204);
  EXPECT_NE(daemon_.script("stat $MNT/s3/moved").exit_code, 0);
  s3.put("/s3/through", "x", {{"x-weir-durability", "persist"}});
  EXPECT_TRUE(fs::exists(daemon_.home() / "bucket/through"));
  EXPECT_TRUE(daemon_.wait_state("/s3/through", "PERSISTED", kPatience));
  EXPECT_EQ(s3.head("/s3/through").header("x-weir-state"), "PERSISTED");
  const std::string metrics = script_output("curl -q -s --noproxy '*' http://127.0.0.1:" + json("status", "[\"admin_port\"]") + "/metrics");
  EXPECT_THAT(metrics, HasSubstr(R"(weir_s3_requests_total{front="s3",operation="GetObject",status="404"} 2)"));
}

// Semantics 7.3.
TEST_F(S3Daemon, acknowledged_objects_survive_a_kill_and_the_endpoint_comes_back) {
  start();
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(client().put("/s3/a", large).status, 200);
  EXPECT_EQ(client().put("/s3/b", "small").status, 200);
  daemon_.kill();
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_TRUE(client().get("/s3/a").body == large);
  EXPECT_EQ(client().get("/s3/b").body, "small");
}

// Semantics 7.14.
TEST_F(S3Daemon, the_keys_of_the_volumes_own_objects_are_denied) {
  fs::create_directories(daemon_.home() / "bucket/.weir-attributes");
  std::ofstream(daemon_.home() / "bucket/.weir-attributes/theirs") << "of another volume";
  start();
  TestClient s3 = client();
  EXPECT_EQ(s3.put("/s3/mine", "content").status, 200);
  for (const std::string prefix : {"/s3/.weir-attributes/", "/s3/.weir-long/", "/s3/.weir-parked/"}) {
    SCOPED_TRACE(prefix);
    for (const std::string key : {"theirs", "new", "a/b"}) {
      const TestResponse put = s3.put(prefix + key, "content");
      EXPECT_EQ(put.status, 403) << put.body;
      EXPECT_THAT(put.body, HasSubstr("<Code>AccessDenied</Code>"));
      EXPECT_EQ(s3.get(prefix + key).status, 403);
      EXPECT_EQ(s3.head(prefix + key).status, 403);
      EXPECT_EQ(s3.erase(prefix + key).status, 403);
      EXPECT_EQ(s3.put(prefix + key, "", {{"x-amz-copy-source", "/s3/mine"}}).status, 403);
      EXPECT_EQ(s3.post(prefix + key + "?uploads", "").status, 403);
    }
    EXPECT_EQ(s3.put("/s3/copied", "", {{"x-amz-copy-source", prefix.substr(1) + "theirs"}}).status, 403);
  }
  const std::string document = "<Delete><Object><Key>.weir-attributes/theirs</Key></Object></Delete>";
  const TestResponse erased = s3.post("/s3?delete", document, {{"Content-MD5", net::base64(net::md5(net::bytes_of(document)))}});
  EXPECT_EQ(erased.status, 200) << erased.body;
  EXPECT_THAT(erased.body, HasSubstr("<Code>AccessDenied</Code>"));
  EXPECT_TRUE(fs::exists(daemon_.home() / "bucket/.weir-attributes/theirs"));
  EXPECT_THAT(s3.get("/s3?list-type=2").body, Not(HasSubstr("weir-attributes")));
  // Elsewhere in a key the names are like any other.
  EXPECT_EQ(s3.put("/s3/a/.weir-attributes/b", "content").status, 200);
  EXPECT_EQ(s3.get("/s3/a/.weir-attributes/b").body, "content");
}

TEST_F(S3Daemon, what_cannot_be_served_stops_the_start_with_the_reason) {
  start();
  const std::string taken = std::to_string(port());
  WeirDaemon other;
  EXPECT_THAT(other.start_refused("-D s3.port=" + taken).err, HasSubstr("s3.port"));
  EXPECT_THAT(other.start_refused("-D s3.server.address=0.0.0.0 -D s3.server.auth=anonymous").err, HasSubstr("loopback"));
  EXPECT_THAT(other.start_refused("-D s3.server.address=nowhere").err, HasSubstr("nowhere"));
  EXPECT_THAT(other.start_refused("-D s3.server.tls.certificate=/nowhere").err, HasSubstr("needs both"));
  EXPECT_THAT(other.start_refused("-D s3.server.tls.certificate=/nowhere -D s3.server.tls.key=/nowhere").err, HasSubstr("/nowhere"));
  EXPECT_THAT(other.start_refused("-D s3.server.auth=nobody").err, HasSubstr("keys, anonymous or any"));
  EXPECT_THAT(other.start_refused("-D s3.put.durability=later").err, HasSubstr("write, sync or persist"));
  other.set("s3.enabled", "false");
  ASSERT_TRUE(other.start()) << other.log();
  EXPECT_THAT(other.weir("s3 key list").err, HasSubstr("s3.enabled"));
}

// A script that does with one client what people do with it, over http or https.
class S3Client : public S3Daemon, public ::testing::WithParamInterface<std::tuple<std::string, std::string>> {
 protected:
  static bool at_full_size() { return std::getenv("WEIR_S3_FULL") != nullptr; }
};

// Semantics 7.9, 7.11, 7.15, 8.6, 8.9.
TEST_P(S3Client, finds_everything_as_it_should_be) {
  const auto& [client, scheme] = GetParam();
  const bool in_python = client.ends_with(".py");
  // Those of fsspec need another botocore than the others.
  const bool of_fsspec = client == "fsspec_client.py" || client == "duckdb_client.py";
  const std::string binary = python(of_fsspec ? "fsspec" : "clients").value_or("");
  if (in_python && binary.empty()) GTEST_SKIP() << "SKIPPED: no Python with S3 clients: scripts/setup --with-clients makes one";
  if (scheme == "https") {
    const Ended made = daemon_.script(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout $TMPDIR/key.pem -out $TMPDIR/cert.pem -days 2 -subj /CN=127.0.0.1 "
        "-addext subjectAltName=IP:127.0.0.1 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.out;
    daemon_.set("s3.tls.port", "0");
    daemon_.set("s3.server.tls.certificate", daemon_.home() / "cert.pem");
    daemon_.set("s3.server.tls.key", daemon_.home() / "key.pem");
  }
  if (at_full_size()) daemon_.set("worker.page.store.size", "12GiB");
  start();
  // Some clients want names of three characters and more.
  fs::create_directory(daemon_.home() / "clients");
  const Ended added = daemon_.weir("mount-table add /clients file://" + (daemon_.home() / "clients").string());
  ASSERT_EQ(added.exit_code, 0) << added.err;
  const net::Credentials key = first_key();
  const std::string url = json("status", scheme == "https" ? "[\"s3\"][\"tls_url\"]" : "[\"s3\"][\"url\"]");
  const std::string sizes = at_full_size() ? "FILES=2000 MULTIPART_MIB=1024 KEYS=100000 " : "";
  const Ended ended = daemon_.script(
      "mkdir $TMPDIR/local; cd $TMPDIR/local; export LOCAL=$PWD BUCKET=clients PYTHON=" + binary + " NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 AWS_ENDPOINT_URL=" +
      url + " AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=" + key.access_key + " AWS_SECRET_ACCESS_KEY=" + key.secret_key +
      (scheme == "https" ? " AWS_CA_BUNDLE=$TMPDIR/cert.pem" : "; unset AWS_CA_BUNDLE") + "; " + sizes + "exec timeout --kill-after=10 " +
      (at_full_size() ? "3000 " : "250 ") + (in_python ? binary + ' ' : "") + WEIR_S3_CLIENTS_DIR "/" + client);
  constexpr int kSkipped = 77;
  if (ended.exit_code == kSkipped) GTEST_SKIP() << ended.out;
  ASSERT_EQ(ended.exit_code, 0) << "(124: it took too long)\n" << ended.out << ended.err;
  if (at_full_size()) std::cout << ended.out;
  const Ended checked = daemon_.weir("fsck --ufs");
  EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
}

INSTANTIATE_TEST_SUITE_P(Clients, S3Client,
                         ::testing::Combine(::testing::Values("boto3_client.py", "full_size.py", "awscli.sh", "rclone.sh", "s3fs_fuse.sh",
                                                              "minio_go.sh", "fsspec_client.py", "duckdb_client.py", "pyarrow_client.py"),
                                            ::testing::Values("http", "https")),
                         [](const auto& info) {
                           const std::string& client = std::get<0>(info.param);
                           return client.substr(0, client.find('.')) + "_over_" + std::get<1>(info.param);
                         });

}  // namespace
}  // namespace weir::testing
