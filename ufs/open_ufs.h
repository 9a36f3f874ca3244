// ufs/open_ufs.h -- from a URI and properties to an under store.
//
//   s3://bucket[/prefix]    file:///directory
//
// Properties (all optional; others are refused by name):
//   s3.endpoint            https://host[:port]; default AWS in the region
//   s3.region              us-east-1
//   s3.access.key, s3.secret.key, s3.session.token    else the environment, else the credentials file
//   s3.credentials.file, s3.credentials.profile       else AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE
//   s3.addressing          auto | path | virtual
//   s3.ca.file             a PEM file; default the system's
//   s3.tls.verify          true | false
//   s3.payload.signing     auto | always | never
//   s3.connections.max     32
//   s3.connect.timeout     5s
//   s3.stall.timeout       30s
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/token_bucket.h"
#include "ufs/under_store.h"

namespace weir::ufs {

using UfsProperties = std::map<std::string, std::string, std::less<>>;

struct UfsOptions {
  UfsProperties properties;
  std::shared_ptr<net::TokenBucket> upload_rate;  // shared by all stores; null: no limit
};

// Sends nothing to the store: probe() does.
// Errors: kInvalid, naming the URI or the property and what is expected; for file:// also those of opening a directory.
Result<std::unique_ptr<UnderStore>> open_ufs(std::string_view uri, const UfsOptions& options);

}  // namespace weir::ufs
