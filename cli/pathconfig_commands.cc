#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/context.h"
#include "cli/local_file.h"
#include "cli/output.h"
#include "meta/path_rules.h"

namespace weir::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDocumentBytesMax = 1 << 20;

// Runs the user's editor on the file. It is a shell command line, as git and crontab take it.
Outcome<> run_editor(const std::string& path) {
  const char* editor = std::getenv("VISUAL");
  if (editor == nullptr || *editor == '\0') editor = std::getenv("EDITOR");
  if (editor == nullptr || *editor == '\0') editor = "vi";
  const std::string script = std::string(editor) + " \"$1\"";
  const pid_t child = ::fork();
  if (child < 0) return failed("cannot start the editor");
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", script.c_str(), "weir", path.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return failed("the editor (" + std::string(editor) + ") failed");
  return {};
}

Outcome<> edit(Context& context) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const std::string before, client.call_text(net::Method::kGet, "/v1/pathconfig"));
  TRY_ASSIGN(const std::string path, write_temporary("weir-pathconfig", ".json", before));
  const std::string kept = "; your text is kept in " + path;
  auto edited = run_editor(path);
  if (!edited) return failed(edited.error().message + kept);
  auto text = read_local(path, kDocumentBytesMax);
  if (!text) return failed(text.error().message + kept);
  auto updated = client.call(net::Method::kPut, "/v1/pathconfig", {}, *text);
  if (!updated) return std::unexpected(Failure{updated.error().code, updated.error().message + kept});
  ::unlink(path.c_str());
  print(context.json ? "{\"updated\": true}\n" : "Update successful!\n");
  return {};
}

struct Arguments {
  std::string path;
  std::string file;
};

Outcome<> test(Context& context, const std::string& path) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const Json answer, client.call(net::Method::kGet, "/v1/pathconfig/test", {{"path", path}}));
  print_json(context.json ? answer : answer["rule"]);
  return {};
}

Outcome<> validate(Context& context, const std::string& file) {
  TRY_ASSIGN(const std::string text, read_local(file, kDocumentBytesMax));
  const auto rules = meta::PathRules::parse(text);
  if (!rules) return failed(rules.error().context());
  if (context.json) {
    print_json(Json{{"valid", true}, {"rules", rules->rules().size()}});
  } else {
    print("Valid: " + std::to_string(rules->rules().size()) + " path rules.\n");
  }
  return {};
}

}  // namespace

void add_pathconfig_commands(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<Arguments>(context);
  CLI::App* group = app.add_subcommand("pathconfig", "Which write policy holds for which path");
  group->require_subcommand(1)->fallthrough();
  add_command(*group, context, "edit", "Edit the rules with $VISUAL or $EDITOR and put them in force",
              [&context] { return edit(context); });
  add_command(*group, context, "get", "Show the rules in force", [&context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(std::string text, client.call_text(net::Method::kGet, "/v1/pathconfig"));
    print(text.ends_with('\n') ? text : text + "\n");
    return {};
  });
  CLI::App* test_command = add_command(*group, context, "test", "Show the rule that applies to a path",
                                       [=, &context] { return test(context, arguments->path); });
  test_command->add_option("--path", arguments->path, "Path in the volume")->required();
  CLI::App* validate_command = add_command(*group, context, "validate", "Check a document without using it",
                                           [=, &context] { return validate(context, arguments->file); });
  validate_command->add_option("file", arguments->file, "The document; - is standard input")->required();
}

}  // namespace weir::cli
