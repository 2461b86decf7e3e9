//! What the metrics make of paths: patterns that anybody writes, and paths that anybody calls.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use bolero::check;
use fuzz::sentence;
use telemetry::metrics::{PathLabels, Rule, Rules};

const WORDS: [&str; 28] = [
    "/",
    "//",
    "/a",
    "/b/",
    "a",
    "{x}",
    "/{x}",
    "/{y}/",
    "{x...}",
    "/{rest...}",
    "/{$}",
    "{$}",
    "{",
    "}",
    "{}",
    ".",
    "..",
    "/v1.0/invoke/",
    "/v1.0/invoke/{app_id}/method/",
    "/v1.0/state/s/k",
    "/actors/t/1/m",
    "workflows",
    "start",
    "raiseEvent",
    "é",
    "%2F",
    "\n",
    " ",
];

/// A label says no more than the patterns, or the path itself where paths are shown.
#[test]
fn paths() {
    check!()
        .with_type::<(Vec<Vec<u8>>, Vec<u8>)>()
        .for_each(|(patterns, path)| {
            let patterns: Vec<String> = patterns
                .iter()
                .take(6)
                .map(|words| sentence(&WORDS, words))
                .collect();
            let path = sentence(&WORDS, path);
            let (low, _) = PathLabels::new(false, &patterns);
            let (high, _) = PathLabels::new(true, &patterns);
            let reversed: Vec<String> = patterns.iter().rev().cloned().collect();
            let (other, _) = PathLabels::new(false, &reversed);
            for label in [
                low.of_server(&path),
                low.with_client(&path, |label| label.to_owned().into()),
            ] {
                let is_static =
                    ["/dapr/config", "/dapr/metrics", "/dapr/subscribe", "/healthz"].contains(&&*label);
                let is_pattern = patterns.iter().any(|pattern| {
                    let words = |text: &str| text.split('/').filter(|word| !word.is_empty()).count();
                    words(&label) == words(pattern) || words(&label) == words(pattern) + 4
                });
                assert!(
                    label.is_empty() || is_static || is_pattern,
                    "{label} for {path} of {patterns:?}"
                );
            }
            assert_eq!(
                low.of_server(&path),
                other.of_server(&path),
                "the order of patterns means nothing"
            );
            assert!(high.of_server(&path).len() <= path.len() + 64 || !patterns.is_empty());
            high.with_client(&path, |_| ());
        });
}

/// Whatever stands in a rule, it is compiled or told.
#[test]
fn rules() {
    check!()
        .with_type::<(String, String, String)>()
        .for_each(|(family, pattern, replacement)| {
            let rule = Rule {
                family: family.clone(),
                label: "path".to_owned(),
                pattern: pattern.clone(),
                replacement: replacement.clone(),
            };
            let (_, errors) = Rules::compile([rule]);
            for error in errors {
                assert!(error.to_string().starts_with("failed to compile regex for rule"));
            }
        });
}
