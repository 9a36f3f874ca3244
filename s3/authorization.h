// s3/authorization.h -- who sent a request, by Signature Version 4 in its headers or its query.
//
// Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)". What is not right is refused with S3's own
// error, before anything of the request is looked at.
// Threads: all methods may be called concurrently.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "net/digest.h"
#include "net/sigv4.h"
#include "s3/access_keys.h"
#include "s3/refusal.h"
#include "s3/request.h"

namespace weir::s3 {

enum class AuthMode : uint8_t {
  kKeys,
  kAnonymous,  // requests without credentials may do everything; those with are checked
  kAny,        // credentials are not looked at
};

// What signs the chunks of a body, and its trailer.
struct ChunkSigning {
  net::Sha256 key{};
  std::string amz_date;
  std::string scope;
  std::string seed;  // the signature of the request
};

struct Identity {
  std::shared_ptr<const AccessKey> key;  // null: nobody in particular, who may do everything
  std::optional<ChunkSigning> chunks;    // of a signed request
  std::string_view key_id() const { return key == nullptr ? std::string_view("-") : std::string_view(key->id); }
};

class Authorization {
 public:
  static constexpr Duration kSkewMax = std::chrono::minutes(15);
  static constexpr uint64_t kPresignedSecondsMax = 7 * 24 * 3600;

  // An empty region accepts any.
  Authorization(const AccessKeys& keys, AuthMode mode, std::string region, const Clock& clock)
      : keys_(keys), mode_(mode), region_(std::move(region)), clock_(clock) {}

  // The payload hash that the headers name is taken as said: whoever reads the body holds it to that.
  Reply<Identity> identify(const Request& request);
  // Of a form, which is signed by its policy alone. Whether the policy lets it be is the caller's to see.
  struct FormSignature {
    std::string_view algorithm;
    std::string_view credential;
    std::string_view date;
    std::string_view signature;
    std::string_view policy;  // as sent
  };
  Reply<Identity> identify_form(const FormSignature& form);

 private:
  struct Claim;
  static Reply<Claim> claim_in_header(const Request& request);
  static Reply<Claim> claim_in_query(const Request& request);
  Reply<void> check_time(const Claim& claim) const;
  Reply<void> check_scope(const Claim& claim) const;
  Reply<Identity> verify(const Request& request, const Claim& claim);
  net::Sha256 signing_key(const AccessKey& key, const net::SigningScope& scope);

  const AccessKeys& keys_;
  const AuthMode mode_;
  const std::string region_;
  const Clock& clock_;

  // Deriving a signing key takes longer than all else here, and it is the same for a day.
  static constexpr size_t kSigningKeysMax = 1'000;
  std::mutex mutex_;  // a leaf
  std::map<std::string, net::Sha256, std::less<>> signing_keys_;
};

// Whether a key of this scope may read or change `key` of `bucket`.
enum class Access : uint8_t { kRead, kWrite };
bool allows(const Scope& scope, Access access, std::string_view bucket, std::string_view key);
// Whether it may list keys that begin with `prefix`.
bool allows_list(const Scope& scope, std::string_view bucket, std::string_view prefix);

}  // namespace weir::s3
