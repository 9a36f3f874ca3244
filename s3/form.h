// s3/form.h -- a multipart/form-data body (RFC 7578) as browsers send files: fields, then the content of one file.
//
// Fields are kept, content is handed on. Fields behind the file are passed over, as S3 does.
// Threads: one thread at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "net/http.h"
#include "s3/refusal.h"

namespace weir::s3 {

class FormReader {
 public:
  static constexpr size_t kFieldsBytesMax = 20 << 10;
  static constexpr size_t kFieldsMax = 100;

  // From a Content-Type header; kMalformedPostRequest.
  static Reply<std::string> boundary_of(std::string_view content_type);

  explicit FormReader(std::string_view boundary);

  // Takes all of `bytes`, until the file begins: from then on take_content() does. How much of them belongs to the fields.
  // kMalformedPostRequest, kMaxPostPreDataLengthExceeded.
  Reply<size_t> take_fields(std::string_view bytes);
  bool at_content() const { return at_content_; }
  // In their order; the name of the file itself is "file".
  const net::Headers& fields() const { return fields_; }
  // As the client calls the file, without folders.
  const std::string& file_name() const { return file_name_; }
  const std::string& file_type() const { return file_type_; }

  // Content is what is left of `bytes`, and of what came before, when everything that could be a boundary is taken away. Nothing
  // is changed before commit(), which follows when the content was taken: so that the same bytes may come again.
  std::string content(std::string_view bytes) const;
  void commit(std::string_view bytes);
  // The boundary behind the content has come.
  bool ended() const { return ended_; }

 private:
  struct Cut {
    std::string content;
    std::string held;  // may be the beginning of a boundary
    bool ended = false;
  };
  Cut cut(std::string_view bytes) const;
  Reply<void> take_part_head(std::string_view head, std::string* name, bool* file);

  const std::string delimiter_;  // with the line break before it
  std::string held_;
  net::Headers fields_;
  std::string file_name_;
  std::string file_type_;
  bool at_content_ = false;
  bool ended_ = false;
};

}  // namespace weir::s3
