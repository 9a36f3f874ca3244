#include "daemon/config.h"

#include <yaml-cpp/yaml.h>

#include "io/directory.h"
#include "io/file.h"

namespace weir::daemon {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr const char* kStoredFile = "properties.yaml";

std::unexpected<Error> invalid(std::string_view where, const YAML::Mark& mark, std::string_view reason) {
  std::string context{where};
  if (!mark.is_null()) context += " line " + std::to_string(mark.line + 1);
  return fail(ErrorCode::kInvalid, context + ": " + std::string(reason));
}

Result<void> add_node(Properties& properties, const std::string& name, const YAML::Node& node, std::string_view where,
                      Source source) {
  if (node.IsMap()) {
    for (const auto& member : node) {
      if (!member.first.IsScalar()) return invalid(where, member.first.Mark(), "a property's name must be a text");
      const std::string below = name.empty() ? member.first.Scalar() : name + '.' + member.first.Scalar();
      TRY(add_node(properties, below, member.second, where, source));
    }
    return {};
  }
  std::string text;
  if (node.IsSequence()) {
    for (const auto& item : node) {
      if (!item.IsScalar()) return invalid(where, item.Mark(), name + " must be a list of texts");
      text += (text.empty() ? "" : ",") + item.Scalar();
    }
  } else if (node.IsScalar()) {
    text = node.Scalar();
  }
  auto set = properties.set(name, text, source);
  if (!set) {
    const int line = node.Mark().line + 1;
    return fail(std::move(set).error().wrap(std::string(where) + " line " + std::to_string(line)));
  }
  return {};
}

Result<std::string> read_file(const std::string& path) {
  TRY_ASSIGN(const io::File file, io::File::open(path, {.follow_symlink = true}));
  return file.read_all(kFileBytesMax);
}

std::string stored_path(const Properties& properties) { return properties.text("volume.dir") + '/' + kStoredFile; }

}  // namespace

Result<void> add_yaml(Properties& properties, std::string_view yaml, std::string_view where, Source source) {
  // The library's one way to report is to throw.
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    if (root.IsNull()) return {};
    if (!root.IsMap()) return invalid(where, root.Mark(), "expected `name: value` lines");
    return add_node(properties, "", root, where, source);
  } catch (const YAML::Exception& e) {
    return invalid(where, e.mark, e.msg);
  }
}

Result<Properties> load_config(const ConfigSources& sources) {
  Properties properties;
  if (!sources.file.empty()) {
    TRY_ASSIGN(const std::string yaml, read_file(sources.file));
    TRY(add_yaml(properties, yaml, sources.file, Source::kFile));
  }
  TRY(properties.set_from_environment());
  for (const std::string& definition : sources.definitions) {
    const size_t equals = definition.find('=');
    if (equals == std::string::npos)
      return fail(ErrorCode::kInvalid, "-D " + definition + ": write -D name=value");
    TRY(properties.set(definition.substr(0, equals), definition.substr(equals + 1), Source::kCommandLine));
  }
  auto stored = read_file(stored_path(properties));
  if (stored) {
    TRY(add_yaml(properties, *stored, stored_path(properties), Source::kStored));
  } else if (stored.error() != ErrorCode::kNotFound) {
    return fail(std::move(stored).error());
  }
  return properties;
}

Result<void> store_property(const Properties& properties, std::string_view name, std::string_view text) {
  TRY_ASSIGN(const Property* property, load_property(name));
  TRY(check_value(*property, text));
  if (property->name == "volume.dir" || property->name == "admin.socket") {
    return fail(ErrorCode::kInvalid, "property " + std::string(property->name) +
                                         " says where stored values are; set it in the configuration file");
  }
  // From the file, not from `properties`: there a later source may hide a stored value.
  Properties stored;
  if (auto text_before = read_file(stored_path(properties)); text_before) {
    TRY(add_yaml(stored, *text_before, stored_path(properties), Source::kStored));
  } else if (text_before.error() != ErrorCode::kNotFound) {
    return fail(std::move(text_before).error());
  }
  TRY(stored.set(name, text, Source::kStored));
  YAML::Emitter yaml;
  yaml << YAML::Comment("Written by `weir conf set`.") << YAML::BeginMap;
  for (const Properties::Value& value : stored.all()) {
    if (value.source != Source::kStored) continue;
    yaml << YAML::Key << std::string(value.property->name) << YAML::Value << YAML::DoubleQuoted << value.text;
  }
  yaml << YAML::EndMap;

  const std::string next = std::string(kStoredFile) + ".next";
  TRY_ASSIGN(const io::Directory directory, io::Directory::open(properties.text("volume.dir")));
  TRY_ASSIGN(const io::File file, directory.open_file(next.c_str(), {.access = io::Access::kWrite,
                                                                     .create = io::Create::kIfAbsent,
                                                                     .mode = 0600,
                                                                     .truncate = true}));
  TRY(file.write_at(0, std::string(yaml.c_str()) + '\n'));
  TRY(file.sync());
  TRY(directory.rename(next.c_str(), directory, kStoredFile, io::Replace::kReplace));
  return directory.sync();
}

std::string admin_socket(const Properties& properties) {
  const std::string& socket = properties.text("admin.socket");
  return socket.empty() ? properties.text("volume.dir") + "/weir.sock" : socket;
}

}  // namespace weir::daemon
