//! Which app a request is for, and which method: targets, paths, trace contexts.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bolero::check;
use fuzz::{Near, sentence};
use http::{HeaderMap, HeaderValue};
use invoke_core::trace::TraceContext;
use invoke_core::{MethodPath, Target, clean_path};

const PATH: [&str; 30] = [
    "/",
    "//",
    "/v1.0/invoke/",
    "v1.0",
    "invoke",
    "/method/",
    "method",
    "app",
    "app.ns",
    ".",
    "..",
    "%2F",
    "%25",
    "%",
    "+",
    "?",
    "#",
    "\0",
    "\t",
    "\r\n",
    "\u{7f}",
    "é",
    "http://",
    "https://",
    "h:80",
    ":",
    "@",
    "[::1]",
    " ",
    "\\",
];

/// A method that is taken is clean: no way of walking it leads out of it, and it stays as it is.
#[test]
fn methods() {
    check!()
        .with_type::<(Vec<u8>, Vec<u8>)>()
        .for_each(|(words, bytes)| {
            for path in [sentence(&PATH, words).into_bytes(), bytes.clone()] {
                let Ok(method) = MethodPath::parse(path.clone()) else {
                    continue;
                };
                let text = method.as_bytes();
                assert!(
                    !text
                        .iter()
                        .any(|byte| *byte < 0x20 || *byte == 0x7f || b"?#".contains(byte))
                );
                assert!(
                    text.split(|byte| *byte == b'/')
                        .all(|segment| segment != b".." && segment != b".")
                );
                assert!(!text.windows(2).any(|two| two == b"//"));
                assert_eq!(MethodPath::parse(text.to_vec()).unwrap(), method);
                assert_eq!(clean_path(&method.rooted()), method.rooted());
            }
        });
}

#[test]
fn targets() {
    check!()
        .with_type::<(Vec<u8>, Vec<u8>, u8)>()
        .for_each(|(words, header, kind)| {
            let path = sentence(&PATH, words);
            let mut headers = HeaderMap::new();
            let named = sentence(&PATH, header);
            let value = match kind % 3 {
                0 => None,
                1 => HeaderValue::from_bytes(named.as_bytes())
                    .ok()
                    .map(|value| ("dapr-app-id", value)),
                _ => {
                    let credentials = STANDARD.encode(format!("dapr-app-id:{named}"));
                    Some((
                        "authorization",
                        HeaderValue::from_str(&format!("Basic {credentials}")).unwrap(),
                    ))
                }
            };
            if let Some((name, value)) = value {
                headers.insert(name, value);
            }
            if let Some((target, method)) = api_http::fuzz::target(&headers, path.as_bytes()) {
                let _ = Target::parse(&target);
                if let Ok(judged) = MethodPath::parse(method.clone()) {
                    // What was cleaned once stays.
                    assert_eq!(MethodPath::parse(judged.as_bytes().to_vec()).unwrap(), judged);
                }
            }
            if let Ok(Target::App { id, namespace }) = Target::parse(&path) {
                let whole = namespace.map_or_else(|| id.to_owned(), |namespace| format!("{id}.{namespace}"));
                assert_eq!(whole, path);
            }
        });
}

#[test]
fn trace_contexts() {
    let seeds = [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-00000000000000000000000000000001-1-0",
    ];
    check!()
        .with_type::<(Near, Vec<u8>)>()
        .for_each(|(near, binary)| {
            let text = near.to_bytes(&seeds, &["-", "00", "ff"]);
            if let Ok(text) = std::str::from_utf8(&text)
                && let Some(trace) = TraceContext::from_traceparent(text)
            {
                let written = trace.to_traceparent();
                let again = TraceContext::from_traceparent(std::str::from_utf8(&written).unwrap()).unwrap();
                assert_eq!(again.to_traceparent(), written);
                assert_eq!(
                    TraceContext::from_binary(&trace.to_binary()).unwrap().to_binary(),
                    trace.to_binary()
                );
            }
            let _ = TraceContext::from_binary(binary);
        });
}
