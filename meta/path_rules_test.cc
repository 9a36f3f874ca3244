#include "meta/path_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::meta {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kSession =
    R"({"apiVersion":"v1.0","defaultRule":{"description":"Global default","policyMode":"WRITE_THROUGH"},)"
    R"("pathRules":[{"alluxioPath":"/s3/checkpoints/**","description":"Low-latency checkpoint writes",)"
    R"("policyMode":"WRITE_BACK","properties":{"writeReplicas":1}}]})";

std::string document(std::string_view rules) {
  return R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"},"pathRules":[)" + std::string(rules) + "]}";
}

std::string rule(std::string_view path, std::string_view policy) {
  return R"({"path":")" + std::string(path) + R"(","policyMode":")" + std::string(policy) + R"("})";
}

PathRules rules_of(std::string_view json) {
  auto rules = PathRules::parse(json);
  EXPECT_TRUE(rules.has_value()) << rules.error().to_string();
  return rules.value_or(PathRules::built_in());
}

// Whether a rule for `pattern` applies to `path`.
bool matches(std::string_view pattern, std::string_view path) {
  return rules_of(document(rule(pattern, "TRANSIENT"))).policy(path) == WritePolicy::kTransient;
}

std::string refusal(std::string_view json) {
  const auto rules = PathRules::parse(json);
  if (rules.has_value()) return "accepted";
  EXPECT_EQ(rules.error().code(), ErrorCode::kInvalid);
  return rules.error().context();
}

TEST(PathRules, built_in_is_write_back_everywhere) {
  EXPECT_EQ(PathRules::built_in().policy("/s3/a"), WritePolicy::kWriteBack);
  EXPECT_EQ(PathRules::built_in().uniform_policy(), WritePolicy::kWriteBack);
}

TEST(PathRules, a_document_with_the_alias_is_understood) {
  const PathRules rules = rules_of(kSession);
  EXPECT_EQ(rules.policy("/s3/checkpoints/epoch-1/model.pt"), WritePolicy::kWriteBack);
  EXPECT_EQ(rules.policy("/s3/checkpoints"), WritePolicy::kWriteBack);
  EXPECT_EQ(rules.policy("/s3/checkpoints2/model.pt"), WritePolicy::kWriteThrough);
  EXPECT_EQ(rules.match("/s3/checkpoints/x").write_replicas, 1u);
  EXPECT_EQ(rules.match("/s3/checkpoints/x").description, "Low-latency checkpoint writes");
  EXPECT_FALSE(rules.uniform_policy().has_value());
}

TEST(PathRules, canonical_text_reads_back_the_same) {
  for (const PathRules& rules : {PathRules::built_in(), rules_of(kSession)}) {
    EXPECT_EQ(rules_of(rules.to_json()), rules);
    EXPECT_EQ(rules_of(rules.to_json()).to_json(), rules.to_json());
  }
  EXPECT_THAT(rules_of(kSession).to_json(), HasSubstr(R"("path": "/s3/checkpoints/**")"));
}

TEST(PathRules, double_star_is_any_number_of_components) {
  EXPECT_TRUE(matches("/s3/**", "/s3"));
  EXPECT_TRUE(matches("/s3/**", "/s3/a"));
  EXPECT_TRUE(matches("/s3/**", "/s3/a/b/c"));
  EXPECT_FALSE(matches("/s3/**", "/s3a"));
  EXPECT_TRUE(matches("/s3/**/tmp", "/s3/tmp"));
  EXPECT_TRUE(matches("/s3/**/tmp", "/s3/a/b/tmp"));
  EXPECT_TRUE(matches("/s3/**/tmp", "/s3/tmp/a/tmp"));
  EXPECT_FALSE(matches("/s3/**/tmp", "/s3/a/tmp/b"));
  EXPECT_TRUE(matches("/**", "/"));
  EXPECT_TRUE(matches("/s3/**/a/**/b", "/s3/x/a/a/y/b"));
}

TEST(PathRules, star_stays_in_its_component) {
  EXPECT_TRUE(matches("/s3/*/x", "/s3/a/x"));
  EXPECT_FALSE(matches("/s3/*/x", "/s3/a/b/x"));
  EXPECT_FALSE(matches("/s3/*/x", "/s3/x"));
  EXPECT_TRUE(matches("/s3/*.tmp", "/s3/a.b.tmp"));
  EXPECT_FALSE(matches("/s3/*.tmp", "/s3/a.tmpx"));
  EXPECT_TRUE(matches("/s3/a*b*c", "/s3/abbc"));
}

TEST(PathRules, a_pattern_without_stars_is_one_path) {
  EXPECT_TRUE(matches("/s3/a", "/s3/a"));
  EXPECT_FALSE(matches("/s3/a", "/s3/a/b"));
  EXPECT_TRUE(matches("/", "/"));
  EXPECT_FALSE(matches("/", "/s3"));
}

TEST(PathRules, longest_literal_prefix_wins_then_document_order) {
  const PathRules rules = rules_of(document(rule("/s3/**", "TRANSIENT") + "," + rule("/s3/a/**", "NO_CACHE") + "," +
                                            rule("/s3/*/b", "WRITE_THROUGH")));
  EXPECT_EQ(rules.policy("/s3/a/b"), WritePolicy::kNoCache);
  EXPECT_EQ(rules.policy("/s3/x/b"), WritePolicy::kTransient);  // "/s3/" both: the earlier one
  EXPECT_EQ(rules.policy("/hdfs"), WritePolicy::kWriteBack);
}

TEST(PathRules, uniform_policy_knows_that_a_rule_for_all_hides_the_default) {
  EXPECT_EQ(rules_of(document(rule("/**", "TRANSIENT"))).uniform_policy(), WritePolicy::kTransient);
  EXPECT_EQ(rules_of(document(rule("/a", "WRITE_BACK"))).uniform_policy(), WritePolicy::kWriteBack);
  EXPECT_EQ(rules_of(document(rule("/a", "TRANSIENT"))).uniform_policy(), std::nullopt);
}

TEST(PathRules, a_syntax_error_names_line_and_column) {
  EXPECT_THAT(refusal("{\n  \"apiVersion\": \"v1.0\",\n  oops\n}"), StartsWith("line 3, column 3: "));
  EXPECT_THAT(refusal(""), StartsWith("line 1, column 1: "));
  EXPECT_THAT(refusal(std::string(kSession) + "x"), HasSubstr("syntax error"));
  EXPECT_THAT(refusal(kSession.substr(0, kSession.size() - 1)), HasSubstr("syntax error"));
}

TEST(PathRules, a_wrong_value_is_named_with_its_place) {
  EXPECT_EQ(refusal("{\n \"apiVersion\": \"v1.0\",\n \"defaultRule\":\n  {\"policyMode\": \"WRITE_BAC\"}}"),
            "line 4, column 18: unknown policyMode \"WRITE_BAC\"; there are WRITE_THROUGH, WRITE_BACK, TRANSIENT and "
            "NO_CACHE");
  EXPECT_EQ(refusal("{\"apiVersion\":\"v1.0\",\n\"rules\":[]}"),
            "line 2, column 1: unknown member \"rules\"; there are apiVersion, defaultRule and pathRules");
  EXPECT_THAT(refusal(document(R"({"path":"/a","policyMode":"WRITE_BACK","properties":{"writeReplicas":9}})")),
              StartsWith("line 1, column 146: \"writeReplicas\""));
}

TEST(PathRules, everything_that_is_no_valid_document_is_refused) {
  EXPECT_THAT(refusal("[]"), HasSubstr("must be an object"));
  EXPECT_THAT(refusal(R"({"defaultRule":{"policyMode":"WRITE_BACK"}})"), HasSubstr("\"apiVersion\" is missing"));
  EXPECT_THAT(refusal(R"({"apiVersion":"v2","defaultRule":{"policyMode":"WRITE_BACK"}})"), HasSubstr("v2"));
  EXPECT_THAT(refusal(R"({"apiVersion":"v1.0"})"), HasSubstr("\"defaultRule\" is missing"));
  EXPECT_THAT(refusal(R"({"apiVersion":"v1.0","apiVersion":"v1.0"})"), HasSubstr("duplicate member"));
  EXPECT_THAT(refusal(R"({"apiVersion":"v1.0","defaultRule":{"path":"/a","policyMode":"WRITE_BACK"}})"),
              HasSubstr("unknown member \"path\""));
  EXPECT_THAT(refusal(document(R"({"policyMode":"WRITE_BACK"})")), HasSubstr("\"path\" is missing"));
  EXPECT_THAT(refusal(document(R"({"path":"/a"})")), HasSubstr("\"policyMode\" is missing"));
  EXPECT_THAT(refusal(document(R"({"path":"/a","alluxioPath":"/a","policyMode":"WRITE_BACK"})")), HasSubstr("the same"));
  EXPECT_THAT(refusal(document(rule("/a", "TRANSIENT") + "," + rule("/a", "WRITE_BACK"))), HasSubstr("second rule"));
  EXPECT_THAT(refusal(document(R"({"path":"/a","policyMode":"WRITE_BACK","properties":{"writeReplicas":1.5}})")),
              HasSubstr("whole number"));
  EXPECT_THAT(refusal(document(R"({"path":"/a","policyMode":"WRITE_BACK","properties":{"replicas":1}})")),
              HasSubstr("unknown member"));
  EXPECT_THAT(refusal(document("[[[[[[[[[]]]]]]]]]")), HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal(std::string(100'000, ' ')), HasSubstr("longer than"));
}

TEST(PathRules, a_path_that_is_no_pattern_is_refused) {
  EXPECT_THAT(refusal(document(rule("", "WRITE_BACK"))), HasSubstr("empty"));
  EXPECT_THAT(refusal(document(rule("s3/a", "WRITE_BACK"))), HasSubstr("absolute"));
  EXPECT_THAT(refusal(document(rule("/s3/", "WRITE_BACK"))), HasSubstr("ends in '/'"));
  EXPECT_THAT(refusal(document(rule("/s3//a", "WRITE_BACK"))), HasSubstr("empty component"));
  EXPECT_THAT(refusal(document(rule("/s3/../a", "WRITE_BACK"))), HasSubstr("\"..\""));
  EXPECT_THAT(refusal(document(rule("/s3/a**", "WRITE_BACK"))), HasSubstr("whole component"));
}

}  // namespace
}  // namespace weir::meta
