// PostObject: a file that a browser sends as a form, with the policy that lets it.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/no_wait.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "s3/checksums.h"
#include "s3/form.h"
#include "s3/operations.h"
#include "s3/post_policy.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

constexpr std::string_view kFileName = "${filename}";

// The form says as fields what a PUT says as headers.
class FormIntake final : public Intake {
 public:
  FormIntake(Call& call, std::string_view boundary) : call_(call), reader_(boundary) {}

  // Of the whole body, where nobody asks for it.
  std::optional<ChecksumAlgorithm> kept_checksum() const override { return std::nullopt; }

  Reply<void> write(std::span<const std::byte> bytes) override {
    std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!reader_.at_content()) {
      // What comes here must not come twice.
      TRY(NoWait::check());
      TRY_ASSIGN(const size_t taken, reader_.take_fields(text));
      text.remove_prefix(taken);
      if (!reader_.at_content()) return {};
      TRY(begin());
    }
    const std::string content = reader_.content(text);
    const auto piece = net::bytes_of(content);
    if (bytes_ + piece.size() > std::min(policy_bytes_max(), kContentBytesMax)) {
      return refuse(Refusal(Code::kEntityTooLarge)
                        .with("MaxSizeAllowed", std::to_string(std::min(policy_bytes_max(), kContentBytesMax))));
    }
    if (!piece.empty()) TRY(writer_->write(piece));
    bytes_ += piece.size();
    md5_.add(piece);
    checksum_->add(piece);
    reader_.commit(text);
    return {};
  }

  Reply<Answer> finish(const PayloadFacts&) override {
    if (!reader_.at_content()) return refuse(Code::kInvalidArgument, "POST requires exactly one file upload per request.");
    if (!reader_.ended())
      return refuse(Code::kMalformedPostRequest, "The body of your POST request is not well-formed multipart/form-data: it ends within the file");
    if (policy_ && bytes_ < policy_->bytes_min()) {
      return refuse(Refusal(Code::kEntityTooSmall)
                        .with("ProposedSize", std::to_string(bytes_))
                        .with("MinSizeAllowed", std::to_string(policy_->bytes_min())));
    }
    // The operation may be repeated on another thread; what was summed up is not.
    if (facts_.etag.empty()) {
      facts_.etag = net::hex(md5_.finish());
      facts_.checksum = ObjectChecksum{.algorithm = algorithm_, .value = checksum_->finish()};
    }
    if (!claimed_checksum_.empty() && facts_.checksum->value != claimed_checksum_)
      return refuse(Code::kBadDigest, "The " + std::string(name_of(algorithm_)) + " you specified did not match the calculated checksum.");
    TRY_ASSIGN(const volume::Object object, writer_->commit(facts_, conditions_, durability_));
    return answer(object);
  }

 private:
  uint64_t policy_bytes_max() const { return policy_ ? policy_->bytes_max() : UINT64_MAX; }
  std::string_view field(std::string_view name) const { return form_.header(name); }

  // All fields are there, the content begins.
  Reply<void> begin() {
    form_.method = net::Method::kPut;
    form_.bucket = call_.request.bucket;
    form_.headers = reader_.fields();
    for (net::Header& header : form_.headers) {
      if (!net::same_name(header.name, "key")) continue;
      for (size_t at = header.value.find(kFileName); at != std::string::npos; at = header.value.find(kFileName, at + reader_.file_name().size()))
        header.value.replace(at, kFileName.size(), reader_.file_name());
    }
    form_.key = field("key");
    if (form_.key.empty()) return refuse(Code::kInvalidArgument, "Bucket POST must contain a field named 'key'.");
    if (form_.key.size() > volume::kObjectKeyBytesMax) {
      return refuse(Refusal(Code::kKeyTooLong)
                        .with("Size", std::to_string(form_.key.size()))
                        .with("MaxSizeAllowed", std::to_string(volume::kObjectKeyBytesMax)));
    }
    TRY_ASSIGN(call_.identity, call_.authorization.identify_form({.algorithm = field("x-amz-algorithm"),
                                                                   .credential = field("x-amz-credential"),
                                                                   .date = field("x-amz-date"),
                                                                   .signature = field("x-amz-signature"),
                                                                   .policy = field("policy")}));
    if (!field("policy").empty()) {
      TRY_ASSIGN(policy_, PostPolicy::parse(field("policy")));
      TRY(policy_->check(form_.headers, form_.bucket, call_.clock.wall_now()));
    }
    TRY(check_access(call_, Access::kWrite, form_.bucket, form_.key));
    return prepare();
  }

  Reply<void> prepare() {
    if (const std::string_view acl = field("acl"); !acl.empty()) form_.headers.push_back({"x-amz-acl", std::string(acl)});
    TRY(refuse_unsupported(form_));
    TRY_ASSIGN(facts_.headers, object_headers(form_));
    if (facts_.headers.content_type.empty()) facts_.headers.content_type = reader_.file_type();
    if (const std::string_view tagging = field("tagging"); !tagging.empty()) {
      TRY_ASSIGN(facts_.tags, parse_tagging(tagging));
    }
    TRY_ASSIGN(conditions_, write_conditions(form_));
    TRY_ASSIGN(durability_, durability(call_));
    for (const net::Header& header : form_.headers) {
      const auto algorithm = find_algorithm_of_header(header.name);
      if (!algorithm) continue;
      if (!claimed_checksum_.empty() || !is_checksum(*algorithm, header.value))
        return refuse(Code::kInvalidRequest, "Value for the field " + header.name + " is invalid, or not the only one of its kind.");
      algorithm_ = *algorithm;
      claimed_checksum_ = header.value;
    }
    checksum_.emplace(algorithm_);
    TRY(check_answer());
    TRY_ASSIGN(writer_, call_.objects.put({form_.bucket, form_.key}));
    return {};
  }

  // A field must not become a header of its own choice.
  Reply<void> check_answer() const {
    const std::string_view target = redirect();
    const auto bad = [](unsigned char c) { return c <= 0x20 || c == 0x7f; };
    const bool web = target.starts_with("http://") || target.starts_with("https://");
    if (!target.empty() && (!web || std::ranges::any_of(target, bad)))
      return refuse(Refusal(Code::kInvalidArgument, "success_action_redirect is no address of the web").with("ArgumentName", "success_action_redirect"));
    return {};
  }
  std::string_view redirect() const {
    const std::string_view target = field("success_action_redirect");
    return target.empty() ? field("redirect") : target;
  }

  Answer answer(const volume::Object& object) const {
    const std::string location = "/" + form_.bucket + "/" + net::uri_encode_path(form_.key);
    Answer answer = empty_answer(204);
    if (const std::string_view target = redirect(); !target.empty()) {
      answer.status = 303;
      answer.headers.push_back({"Location", std::string(target) + (target.contains('?') ? '&' : '?') + "bucket=" + net::uri_encode(form_.bucket) +
                                                "&key=" + net::uri_encode(form_.key) + "&etag=" + net::uri_encode(in_quotes(object.etag))});
    } else if (field("success_action_status") == "201") {
      XmlWriter xml("PostResponse", "");
      xml.text("Location", location);
      xml.text("Bucket", form_.bucket);
      xml.text("Key", form_.key);
      xml.etag("ETag", object.etag);
      answer = xml_answer(std::move(xml).take());
      answer.status = 201;
    } else if (field("success_action_status") == "200") {
      answer.status = 200;
    }
    if (redirect().empty()) answer.headers.push_back({"Location", location});
    answer.headers.push_back({"ETag", in_quotes(object.etag)});
    add_checksum(answer.headers, object.checksum);
    add_state(answer.headers, object.state);
    return answer;
  }

  Call& call_;
  FormReader reader_;
  Request form_;
  std::optional<PostPolicy> policy_;
  volume::PutFacts facts_;
  volume::ObjectConditions conditions_;
  volume::ObjectDurability durability_ = volume::ObjectDurability::kSync;
  ChecksumAlgorithm algorithm_ = ChecksumAlgorithm::kCrc64Nvme;
  std::string claimed_checksum_;
  std::optional<ChecksumHasher> checksum_;
  net::Hasher<net::Md5> md5_;
  uint64_t bytes_ = 0;
  std::unique_ptr<volume::PutWriter> writer_;
};

}  // namespace

Reply<std::unique_ptr<Intake>> post_object(Call& call) {
  TRY_ASSIGN(const std::string boundary, FormReader::boundary_of(call.header("content-type")));
  return std::make_unique<FormIntake>(call, boundary);
}

}  // namespace weir::s3
