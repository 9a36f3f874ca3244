// What the bucket can do, found out by doing it to two objects of one's own.

#include <algorithm>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "base/random.h"
#include "net/checksum.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "net/s3_xml.h"
#include "ufs/s3_headers.h"
#include "ufs/s3_ufs.h"

namespace weir::ufs {
namespace {

using net::Method;

constexpr Duration kFirstAnswer = std::chrono::seconds(10);
constexpr std::string_view kText = "This object is left by an interrupted check of the bucket and may be deleted.\n";
constexpr std::string_view kOtherEtag = "00000000000000000000000000000000";

bool refused(const std::expected<S3Response, S3Refusal>& answer) {
  return !answer && answer.error().error == ErrorCode::kPrecondition;
}

// The answer says nothing about what the store can do.
bool no_answer(const std::expected<S3Response, S3Refusal>& answer) {
  if (answer) return false;
  const Error& error = answer.error().error;
  return error == ErrorCode::kUnavailable || error == ErrorCode::kTimedOut || error == ErrorCode::kCancelled ||
         error == ErrorCode::kDenied;
}

}  // namespace

class S3Ufs::Probe {
 public:
  Probe(S3Ufs& store, Deadline deadline) : store_(store), deadline_(deadline) {}
  ~Probe() {
    (void)store_.erase(first_, std::nullopt, deadline_);
    (void)store_.erase(second_, std::nullopt, deadline_);
  }

  Result<Capabilities> run() {
    TRY(try_checksums());
    TRY(try_conditions_of_puts());
    TRY(try_uploads());
    TRY(try_copies());
    return found_;
  }

 private:
  using Answer = std::expected<S3Response, S3Refusal>;

  // Sends the conditions as they are, whatever was found before.
  Answer send(S3Request request, const Conditions& conditions = {}) {
    s3::add_conditions(request.headers, conditions);
    return store_.client_->call(request, deadline_);
  }

  // Of a condition: kDenied and the like when the store did not say whether it knows it.
  Result<Answer> ask(S3Request request, const Conditions& conditions = {}) {
    Answer answer = send(std::move(request), conditions);
    if (no_answer(answer)) return fail(std::move(answer.error().error));
    return answer;
  }

  S3Request put(const std::string& key, uint32_t crc = net::crc32c(net::bytes_of(kText))) {
    return {.method = Method::kPut,
            .key = store_.full_key(key),
            .headers = {{s3::kChecksumHeader, net::checksum_text(crc)}},
            .body = net::bytes_of(kText),
            .body_is_data = true};
  }

  // A store that does not know a condition ignores or refuses it; then the object is written without.
  Result<void> try_checksums() {
    Answer created = send(put(first_), {.if_none_match = true});
    creates_ = created.has_value();
    if (!created) created = send(put(first_));
    if (!created) return fail(std::move(created.error().error));
    const net::Headers& headers = created->http.headers;
    etag_ = net::without_quotes(net::header(headers, "etag"));
    store_.etag_is_md5_ = etag_ == net::hex(net::md5(net::bytes_of(kText))) && !s3::hides_md5(headers);
    // Verified where a wrong one is refused.
    TRY_ASSIGN(const Answer damaged, ask(put(second_, ~net::crc32c(net::bytes_of(kText)))));
    if (!damaged) store_.client_->checksums_are_verified();
    return {};
  }

  Result<void> try_conditions_of_puts() {
    TRY_ASSIGN(const Answer again, ask(put(first_), {.if_none_match = true}));
    TRY_ASSIGN(const Answer mismatched, ask(put(first_), {.if_match = Etag(kOtherEtag)}));
    TRY_ASSIGN(const Answer matched, ask(put(first_), {.if_match = etag_}));
    found_.conditional_put = creates_ && refused(again) && refused(mismatched) && matched.has_value();
    return {};
  }

  // Copying into the parts of an upload, and the conditions of completing one.
  Result<void> try_uploads() {
    TRY_ASSIGN(const std::string id, begin_upload());
    if (found_.conditional_put) {
      TRY_ASSIGN(const Part part, store_.upload_part(first_, id, 1, net::bytes_of(kText), deadline_));
      const std::string xml = net::complete_multipart_xml({{1, part.etag, part.size_bytes, part.checksum}});
      TRY_ASSIGN(const Answer completed, ask({.method = Method::kPost,
                                              .key = store_.full_key(first_),
                                              .query = {{"uploadId", id}},
                                              .headers = {{"content-type", "application/xml"}},
                                              .body = net::bytes_of(xml),
                                              .stall_timeout = s3::kSilentWork},
                                             {.if_none_match = true}));
      found_.conditional_put = refused(completed);
    }
    return store_.abort_multipart(first_, id, deadline_);
  }

  // MinIO copies only into uploads without checksums.
  Result<std::string> begin_upload() {
    for (const bool with_checksums : {true, false}) {
      store_.part_checksums_ = with_checksums;
      TRY_ASSIGN(std::string id, store_.create_multipart(first_, {}, deadline_));
      found_.multipart_copy =
          store_.upload_part_copy(first_, id, 1, first_, std::nullopt, 0, kText.size(), deadline_).has_value();
      if (found_.multipart_copy) return id;
      TRY(store_.abort_multipart(first_, id, deadline_));
    }
    store_.part_checksums_ = true;
    return store_.create_multipart(first_, {}, deadline_);
  }

  Result<void> try_copies() {
    const S3Request copy{.method = Method::kPut,
                         .key = store_.full_key(second_),
                         .headers = {{"x-amz-copy-source", store_.client_->copy_source(store_.full_key(first_))}},
                         .stall_timeout = s3::kSilentWork};
    if (Answer copied = send(copy); !copied) return fail(std::move(copied.error().error));
    TRY_ASSIGN(const Answer again, ask(copy, {.if_none_match = true}));
    TRY_ASSIGN(const Answer mismatched, ask(copy, {.if_match = Etag(kOtherEtag)}));
    found_.conditional_copy = refused(again) && refused(mismatched);
    return {};
  }

  S3Ufs& store_;
  const Deadline deadline_;
  const std::string name_ = ".weir-probe-" + std::to_string(Random::from_entropy().next());
  const std::string first_ = name_ + "-1";
  const std::string second_ = name_ + "-2";
  std::string etag_;      // of the first
  bool creates_ = false;  // it was made with a condition
  Capabilities found_;
};

Result<Capabilities> S3Ufs::probe(Deadline deadline) {
  // A wrong endpoint is told soon, however patient the caller.
  const Deadline soon = Deadline::at(std::min(deadline.time(), Deadline::after(kFirstAnswer).time()));
  TRY(list({.keys_max = 1}, soon));
  TRY_ASSIGN(const Capabilities found, Probe(*this, deadline).run());
  conditional_put_ = found.conditional_put;
  conditional_copy_ = found.conditional_copy;
  return found;
}

}  // namespace weir::ufs
