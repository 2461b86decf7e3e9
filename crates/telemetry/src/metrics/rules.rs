//! Rules that rewrite the values of labels (`spec.metrics.rules` of the configuration,
//! <https://docs.dapr.io/operations/observability/metrics/metrics-overview/>).

use std::borrow::Cow;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// How large a compiled expression may be, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// A rule as it is written.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The family, with or without `dapr_`.
    pub family: String,
    /// The label.
    pub label: String,
    /// What is replaced wherever it occurs: a regular expression in the syntax of RE2.
    pub pattern: String,
    /// What stands there instead; `$1` and `${name}` are what groups matched.
    pub replacement: String,
}

/// A rule that cannot be used.
#[derive(Clone, Debug, Error)]
#[error("failed to compile regex for rule {family}{label}/{replacement}: {source}")]
pub struct RuleError {
    family: String,
    label: String,
    replacement: String,
    #[source]
    source: regex::Error,
}

/// Rules that are ready. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Rules(Arc<[Compiled]>);

#[derive(Debug)]
struct Compiled {
    family: String,
    label: String,
    pattern: Regex,
    replacement: String,
}

impl Rules {
    /// Compiles rules. Those that cannot be used are left out.
    pub fn compile(rules: impl IntoIterator<Item = Rule>) -> (Self, Vec<RuleError>) {
        let (mut compiled, mut errors) = (Vec::new(), Vec::new());
        for rule in rules {
            let Rule {
                family,
                label,
                pattern,
                replacement,
            } = rule;
            let family = canonical(&family);
            let built = RegexBuilder::new(&pattern).size_limit(MAX_COMPILED).build();
            match built {
                Ok(pattern) => compiled.push(Compiled {
                    family,
                    label,
                    pattern,
                    replacement,
                }),
                Err(source) => errors.push(RuleError {
                    family,
                    label,
                    replacement,
                    source,
                }),
            }
        }
        (Self(compiled.into()), errors)
    }

    /// The value that a label of a family shows.
    pub(super) fn rewrite<'a>(&self, family: &str, label: &str, value: &'a str) -> Cow<'a, str> {
        let mut value = Cow::Borrowed(value);
        if self.0.is_empty() || value.is_empty() {
            return value;
        }
        let family = canonical(family);
        let rules = self.0.iter();
        for rule in rules.filter(|rule| rule.family == family && rule.label == label) {
            if let Cow::Owned(new) = rule.pattern.replace_all(&value, rule.replacement.as_str()) {
                value = Cow::Owned(new);
            }
        }
        value
    }
}

/// The name of a family without its prefix; `_`, `/` and `.` are the same in rules.
fn canonical(family: &str) -> String {
    family.replacen("dapr_", "", 1).replace(['_', '.'], "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(family: &str, label: &str, pattern: &str, replacement: &str) -> Rule {
        Rule {
            family: family.to_owned(),
            label: label.to_owned(),
            pattern: pattern.to_owned(),
            replacement: replacement.to_owned(),
        }
    }

    #[test]
    fn values_are_rewritten() {
        let (rules, errors) = Rules::compile([
            rule(
                "dapr_http_server_request_count",
                "path",
                r"/orders/\d+",
                "/orders/{id}",
            ),
            rule("http_server_request_count", "method", "(G)(ET)", "$2${1}"),
            rule(
                "dapr_grpc_io_server_completed_rpcs",
                "grpc_server_method",
                "^.*$",
                "x",
            ),
        ]);
        assert!(errors.is_empty(), "{errors:?}");
        let path = "path";
        for (family, label, value, wanted) in [
            (
                "dapr_http_server_request_count",
                path,
                "/orders/17/a/orders/4",
                "/orders/{id}/a/orders/{id}",
            ),
            ("dapr_http_server_request_count", path, "/other", "/other"),
            ("dapr_http_server_request_count", path, "", ""),
            ("dapr_http_server_latency", path, "/orders/17", "/orders/17"),
            ("dapr_http_server_request_count", "method", "GET", "ETG"),
            (
                "dapr_grpc_io_server_completed_rpcs",
                "grpc_server_method",
                "/a.B/C",
                "x",
            ),
        ] {
            assert_eq!(rules.rewrite(family, label, value), wanted);
        }
    }

    #[test]
    fn what_cannot_be_compiled_is_left_out() {
        let (rules, errors) = Rules::compile([
            rule("dapr_a", "b", "(", "x"),
            rule("dapr_a", "b", "(a{1000}){1000}{1000}", "x"),
            rule("dapr_a", "b", "a", "c"),
        ]);
        assert_eq!(errors.len(), 2);
        let text = errors[0].to_string();
        assert!(
            text.starts_with("failed to compile regex for rule ab/x: regex parse error"),
            "{text}"
        );
        assert_eq!(rules.rewrite("dapr_a", "b", "a"), "c");
    }

    #[test]
    fn no_expression_takes_for_ever() {
        let (rules, _) = Rules::compile([rule("a", "b", "(a+)+$", "x")]);
        let value = "a".repeat(64 * 1024) + "!";
        assert_eq!(rules.rewrite("a", "b", &value), value);
    }
}
