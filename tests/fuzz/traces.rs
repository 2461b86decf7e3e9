//! What is said about traces: states that callers send, and settings that operators write.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use bolero::check;
use fuzz::sentence;
use invoke_core::trace::is_state;
use telemetry::traces::{OtelSpec, Plan, TraceSpec};

const MEMBERS: [&str; 16] = [
    "a",
    "b1",
    "=",
    "=",
    "=x",
    ",",
    ",",
    " ",
    "@",
    "sys",
    "_",
    "-*/",
    "A",
    "\u{e9}",
    "\n",
    "kkkkkkkkkkkkkkkkkkkkkkkk",
];

/// A state is a list of members with different keys, and stays one when a member goes.
#[test]
fn states() {
    check!().with_type::<Vec<u8>>().for_each(|words| {
        let text = sentence(&MEMBERS, words);
        if !is_state(text.as_bytes()) {
            return;
        }
        let members: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .collect();
        assert!((1..=32).contains(&members.len()), "{text:?}");
        let mut keys: Vec<&str> = members
            .iter()
            .map(|member| member.split_once('=').unwrap().0)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), members.len(), "{text:?}");
        if members.len() > 1 {
            assert!(is_state(members[1..].join(",").as_bytes()), "{text:?}");
        }
    });
}

const WORDS: [&str; 24] = [
    "http://", "https://", "host", ":", "4317", "/", "v1", "@", "[::1]", "?", "#", " ", "=", ",", "hush",
    "hush", "%", "%20", "%ff", "grpc", "http", "0", "1e-5", "\u{e9}",
];

/// Settings are a plan or a mistake that can be told. What may be a secret is in neither text.
#[test]
fn plans() {
    check!()
        .with_type::<([Vec<u8>; 4], Vec<(u8, Vec<u8>)>)>()
        .for_each(|([rate, zipkin, protocol, endpoint], variables)| {
            const NAMES: [&str; 8] = [
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "OTEL_EXPORTER_OTLP_HEADERS",
                "OTEL_EXPORTER_OTLP_INSECURE",
                "OTEL_BSP_MAX_QUEUE_SIZE",
                "OTEL_RESOURCE_ATTRIBUTES",
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            ];
            let text = |words: &[u8]| sentence(&WORDS, words);
            let variables: Vec<(&str, String)> = variables
                .iter()
                .map(|(name, words)| (NAMES[usize::from(*name) % NAMES.len()], text(words)))
                .collect();
            let spec = TraceSpec {
                sampling_rate: text(rate),
                stdout: rate.len() % 2 == 0,
                // The word is a password only where a header may be.
                zipkin: text(zipkin).replace("hush", ""),
                otel: OtelSpec {
                    protocol: text(protocol).replace("hush", ""),
                    endpoint: text(endpoint).replace("hush", ""),
                    headers: vec![("x-key".to_owned(), "hush".to_owned())],
                    ..OtelSpec::default()
                },
            };
            assert!(
                !format!("{spec:?}")
                    .replace("sampling_rate", "")
                    .contains("\"x-key\", \"hush\"")
            );
            let plan = Plan::of(spec, "me", |name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.clone())
            });
            match plan {
                Ok(plan) => {
                    assert!(
                        plan.sampler()
                            .to_string()
                            .starts_with("ParentBased{root:TraceIDRatioBased{")
                    );
                    assert!(!format!("{plan:?}").contains("hush"));
                }
                Err(error) => {
                    let text = error.to_string();
                    let is_header = text.contains("header");
                    assert!(!(is_header && text.contains("=hush")), "{text}");
                }
            }
        });
}
