#include "s3/head.h"

#include <boost/beast/http.hpp>
#include <limits>

namespace weir::s3 {
namespace {

namespace http = boost::beast::http;

std::optional<net::Method> method_of(http::verb verb) {
  switch (verb) {
    case http::verb::get: return net::Method::kGet;
    case http::verb::head: return net::Method::kHead;
    case http::verb::put: return net::Method::kPut;
    case http::verb::post: return net::Method::kPost;
    case http::verb::delete_: return net::Method::kDelete;
    default: return std::nullopt;
  }
}

}  // namespace

struct HeadParser::Impl {
  http::request_parser<http::empty_body> parser;
};

HeadParser::HeadParser() : impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(kBytesMax);
  impl_->parser.body_limit(std::numeric_limits<uint64_t>::max());
  impl_->parser.skip(true);
}

HeadParser::~HeadParser() = default;

Reply<size_t> HeadParser::feed(std::string_view bytes) {
  boost::system::error_code code;
  const size_t taken = impl_->parser.put(boost::asio::buffer(bytes.data(), bytes.size()), code);
  if (code == http::error::header_limit) return refuse(Code::kRequestHeaderTooLarge);
  if (code && code != http::error::need_more) return refuse(Code::kInvalidRequest, "The request is not HTTP/1.1: " + code.message());
  if (!done() && bytes.size() - taken > kBytesMax) return refuse(Code::kRequestHeaderTooLarge);
  return taken;
}

bool HeadParser::done() const { return impl_->parser.is_header_done(); }
bool HeadParser::keep_alive() const { return impl_->parser.get().keep_alive(); }

Reply<void> HeadParser::fill(Request& request, std::span<const std::string> domains) const {
  const auto& message = impl_->parser.get();
  request.headers.clear();
  request.headers.reserve(16);
  for (const auto& field : message) {
    const auto name = field.name_string();
    const auto value = field.value();
    request.headers.push_back({std::string(name.data(), name.size()), std::string(value.data(), value.size())});
  }
  const auto method = method_of(message.method());
  if (!method) return refuse(Code::kMethodNotAllowed);
  request.method = *method;
  const auto target = message.target();
  return parse_target({target.data(), target.size()}, domains, request);
}

}  // namespace weir::s3
