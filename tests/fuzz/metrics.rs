//! What the metrics make of paths (patterns that anybody writes, and paths that anybody calls), and of what a scraper says
//! that it takes.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use bolero::check;
use fuzz::{Near, sentence};
use http::{HeaderMap, HeaderValue, header};
use telemetry::fuzz::form;
use telemetry::metrics::{Format, PathLabels, Rule, Rules};

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
                    // The label of a client shows no key of state or secrets, which a pattern may name.
                    let is_short = words(&label) == 3 && pattern.starts_with(&*label);
                    is_short || words(&label) == words(pattern) || words(&label) == words(pattern) + 4
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

/// What scrapers send, and what comes close to it.
const SCRAPERS: [&str; 5] = [
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8;q=0.6,\
     application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5",
    "text/plain;version=0.0.4;escaping=underscores;q=0.3, */*;q=0.2",
    "application/vnd.google.protobuf; proto=\"io.prometheus.client.MetricFamily\"; encoding=text; q=1",
    "Application/OpenMetrics-Text; Version=\"1.0.0\"; q=0.001",
];
const OF_ACCEPT: [&str; 26] = [
    ",",
    ";",
    "=",
    "\"",
    " ",
    "\t",
    "/",
    "*/*",
    "q=0",
    ";q=1",
    ";q=0.5",
    ";q=1.1",
    ";q=-0",
    ";q=nan",
    ";q=inf",
    ";q=1e-9",
    "text/plain",
    "application/openmetrics-text",
    "application/vnd.google.protobuf",
    "version=1.0.0",
    "version=0.0.4",
    "encoding=delimited",
    "proto=io.prometheus.client.MetricFamily",
    ";escaping=dots",
    ";escaping=values",
    ";escaping=x",
];

/// Whatever stands in `Accept`, on however many lines: a scraper gets a form that it named, by its name, and the text if it
/// named none; and what it says a second time changes nothing.
#[test]
fn kinds_that_scrapers_take() {
    check!()
        .with_type::<(Vec<Near>, bool)>()
        .for_each(|(lines, offers)| {
            let mut headers = HeaderMap::new();
            let mut sent = String::new();
            for line in lines.iter().take(4) {
                let bytes = line.to_bytes(&SCRAPERS, &OF_ACCEPT);
                let Ok(value) = HeaderValue::from_bytes(&bytes) else {
                    continue;
                };
                sent.push_str(&String::from_utf8_lossy(&bytes).to_ascii_lowercase());
                sent.push('\n');
                headers.append(header::ACCEPT, value);
            }
            let (found, kind) = form(&headers, *offers);
            let kind = kind.to_str().unwrap();
            let (name, rest) = kind.split_once(';').unwrap();
            let wanted = match found {
                Format::Text => "text/plain",
                Format::OpenMetrics => "application/openmetrics-text",
                Format::Protobuf => "application/vnd.google.protobuf",
            };
            assert_eq!(name, wanted);
            assert!(
                found == Format::Text || sent.contains(name),
                "{kind} for {sent:?}"
            );
            assert!(*offers || found != Format::OpenMetrics, "{sent:?}");
            let (_, escaping) = rest.rsplit_once("escaping=").unwrap();
            let is_known = ["allow-utf-8", "dots", "values"].contains(&escaping) && sent.contains(escaping);
            assert!(escaping == "underscores" || is_known, "{kind} for {sent:?}");

            // Sorted by quality it is the same list with everything twice.
            let again: Vec<HeaderValue> = headers.get_all(header::ACCEPT).iter().cloned().collect();
            for value in again {
                headers.append(header::ACCEPT, value);
            }
            assert_eq!(form(&headers, *offers).0, found, "{sent:?}");
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
