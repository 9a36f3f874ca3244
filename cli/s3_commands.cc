// s3 key add, list, remove.
#include <nlohmann/json.hpp>

#include "cli/context.h"
#include "cli/output.h"

namespace weir::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string access_key;
  std::string secret_key;
  std::string bucket;
  std::string prefix;
  bool read_only = false;
  bool secrets = false;
};

std::string reach_text(const Json& key) {
  const std::string bucket = key.value("bucket", "");
  std::string text = bucket.empty() ? "everything" : bucket + '/' + key.value("prefix", "");
  if (key.value("read_only", false)) text += ", read only";
  return text;
}

Outcome<> add(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  net::Query query;
  const auto say = [&](const char* name, const std::string& value) {
    if (!value.empty()) query.push_back({name, value});
  };
  say("access_key", arguments.access_key);
  say("secret_key", arguments.secret_key);
  say("bucket", arguments.bucket);
  say("prefix", arguments.prefix);
  if (arguments.read_only) query.push_back({"read_only", "true"});
  TRY_ASSIGN(const Json key, client.call(net::Method::kPost, "/v1/s3/keys", query));
  if (context.json) {
    print_json(key);
  } else {
    print("AWS_ACCESS_KEY_ID=" + key.value("access_key", "") + "\nAWS_SECRET_ACCESS_KEY=" + key.value("secret_key", "") + "\n");
  }
  return {};
}

Outcome<> list(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const Json answer, client.call(net::Method::kGet, "/v1/s3/keys",
                                            arguments.secrets ? net::Query{{"secrets", "true"}} : net::Query{}));
  if (context.json) {
    print_json(answer);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"ACCESS KEY", "MADE", "MAY USE"}};
  if (arguments.secrets) rows[0].insert(rows[0].begin() + 1, "SECRET KEY");
  for (const Json& key : answer["keys"]) {
    rows.push_back({key.value("access_key", ""), time_text(key.value("created_ns", int64_t{0})), reach_text(key)});
    if (arguments.secrets) rows.back().insert(rows.back().begin() + 1, key.value("secret_key", ""));
  }
  print(table_text(rows));
  return {};
}

Outcome<> remove(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const Json answer, client.call(net::Method::kDelete, "/v1/s3/keys", {{"access_key", arguments.access_key}}));
  if (context.json) print_json(answer);
  return {};
}

}  // namespace

void add_s3_commands(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<Arguments>(context);
  CLI::App* group = app.add_subcommand("s3", "The S3 endpoint");
  group->require_subcommand(1)->fallthrough();
  CLI::App* keys = group->add_subcommand("key", "Who may use it");
  keys->require_subcommand(1)->fallthrough();
  CLI::App* adder = add_command(*keys, context, "add", "Make an access key, and show its secret",
                                       [=, &context] { return add(context, *arguments); });
  adder->add_option("--access-key", arguments->access_key, "Letters and digits; default: made");
  adder->add_option("--secret-key", arguments->secret_key, "At least 8 characters; default: made");
  adder->add_option("--bucket", arguments->bucket, "For this bucket alone");
  adder->add_option("--prefix", arguments->prefix, "For keys of the bucket that begin so");
  adder->add_flag("--read-only", arguments->read_only, "For reading alone");
  CLI::App* list_command = add_command(*keys, context, "list", "Show the access keys",
                                       [=, &context] { return list(context, *arguments); });
  list_command->add_flag("--secrets", arguments->secrets, "With their secrets");
  CLI::App* remove_command = add_command(*keys, context, "remove", "Take an access key away, at once",
                                         [=, &context] { return remove(context, *arguments); });
  remove_command->add_option("access-key", arguments->access_key, "The access key")->required();
}

}  // namespace weir::cli
