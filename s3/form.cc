#include "s3/form.h"

#include <algorithm>
#include <utility>

#include "net/encoding.h"

namespace weir::s3 {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr size_t kBoundaryBytesMax = 200;

std::unexpected<Refusal> malformed(std::string what) {
  return refuse(Code::kMalformedPostRequest, "The body of your POST request is not well-formed multipart/form-data: " + std::move(what));
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

// The value of a parameter of a header: `name="value"`, or without quotes. Browsers escape quotes as %22.
std::string parameter_of(std::string_view header, std::string_view name) {
  size_t at = header.find(';');
  while (at != std::string_view::npos) {
    std::string_view rest = trim(header.substr(at + 1));
    const size_t equals = rest.find('=');
    if (equals == std::string_view::npos) return "";
    const bool wanted = net::same_name(trim(rest.substr(0, equals)), name);
    rest.remove_prefix(equals + 1);
    std::string value;
    if (rest.starts_with('"')) {
      size_t i = 1;
      for (; i < rest.size() && rest[i] != '"'; ++i) {
        if (rest[i] == '\\' && i + 1 < rest.size() && (rest[i + 1] == '"' || rest[i + 1] == '\\')) ++i;
        value += rest[i];
      }
      rest.remove_prefix(std::min(i + 1, rest.size()));
    } else {
      const size_t end = std::min(rest.find(';'), rest.size());
      value = trim(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    if (wanted) return value;
    const size_t next = rest.find(';');
    if (next == std::string_view::npos) return "";
    header = rest;
    at = next;
  }
  return "";
}

}  // namespace

Reply<std::string> FormReader::boundary_of(std::string_view content_type) {
  std::string boundary = parameter_of(content_type, "boundary");
  if (boundary.empty() || boundary.size() > kBoundaryBytesMax) return malformed("its Content-Type has no boundary");
  return boundary;
}

FormReader::FormReader(std::string_view boundary) : delimiter_(std::string(kLineEnd) + "--" + std::string(boundary)), held_(kLineEnd) {}

Reply<void> FormReader::take_part_head(std::string_view head, std::string* name, bool* file) {
  bool told = false;
  for (size_t at = 0; at < head.size();) {
    const size_t end = std::min(head.find(kLineEnd, at), head.size());
    const std::string_view line = head.substr(at, end - at);
    at = end + kLineEnd.size();
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return malformed("a line of a part's head has no colon");
    const std::string_view header = line.substr(0, colon);
    const std::string_view value = trim(line.substr(colon + 1));
    if (net::same_name(header, "content-disposition")) {
      *name = parameter_of(value, "name");
      told = !name->empty();
      *file = told && net::same_name(*name, "file");
      if (*file) file_name_ = parameter_of(value, "filename");
    } else if (net::same_name(header, "content-type")) {
      file_type_ = value;
    }
  }
  if (!told) return malformed("a part has no name");
  if (!*file) file_type_.clear();
  file_name_.erase(0, file_name_.find_last_of("/\\") + 1);
  return {};
}

Reply<size_t> FormReader::take_fields(std::string_view bytes) {
  const size_t before = held_.size();
  held_ += bytes;
  size_t at = 0;  // everything before is used
  while (held_.compare(at, delimiter_.size(), delimiter_) == 0) {
    size_t head = at + delimiter_.size();
    if (held_.size() < head + kLineEnd.size()) break;
    if (held_.compare(head, kLineEnd.size(), kLineEnd) != 0) return malformed("it ends before a field \"file\"");
    head += kLineEnd.size();
    const size_t head_end = held_.find("\r\n\r\n", head);
    if (head_end == std::string::npos) break;
    std::string name;
    bool file = false;
    TRY(take_part_head(std::string_view(held_).substr(head, head_end - head), &name, &file));
    const size_t value = head_end + 4;
    if (file) {
      // A boundary may follow at once: what comes is seen behind a line break that is no content.
      at_content_ = true;
      held_.clear();
      return value - before;
    }
    const size_t value_end = held_.find(delimiter_, value);
    if (value_end == std::string::npos) break;
    if (fields_.size() == kFieldsMax) return refuse(Code::kMaxPostPreDataLengthExceeded);
    fields_.push_back({std::move(name), held_.substr(value, value_end - value)});
    at = value_end;
  }
  const size_t compared = std::min(held_.size() - at, delimiter_.size());
  if (held_.compare(at, compared, delimiter_, 0, compared) != 0) return malformed("it does not begin with its boundary");
  held_.erase(0, at);
  size_t kept = held_.size();
  for (const net::Header& field : fields_) kept += field.name.size() + field.value.size();
  if (kept > kFieldsBytesMax) return refuse(Code::kMaxPostPreDataLengthExceeded);
  return bytes.size();
}

FormReader::Cut FormReader::cut(std::string_view bytes) const {
  Cut cut{.content = held_, .held = {}, .ended = ended_};
  if (ended_) return cut;
  cut.content += bytes;
  // An empty file is followed by its boundary at once, without anything before the line break.
  const size_t end = cut.content.find(delimiter_);
  if (end != std::string::npos) {
    cut.content.resize(end);
    cut.ended = true;
    return cut;
  }
  size_t kept = std::min(cut.content.size(), delimiter_.size() - 1);
  while (!std::string_view(delimiter_).starts_with(std::string_view(cut.content).substr(cut.content.size() - kept))) --kept;
  cut.held = cut.content.substr(cut.content.size() - kept);
  cut.content.resize(cut.content.size() - kept);
  return cut;
}

std::string FormReader::content(std::string_view bytes) const { return ended_ ? std::string() : cut(bytes).content; }

void FormReader::commit(std::string_view bytes) {
  if (ended_) return;
  Cut now = cut(bytes);
  held_ = std::move(now.held);
  ended_ = now.ended;
}

}  // namespace weir::s3
