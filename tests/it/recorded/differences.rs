//! Where an answer differs from the recorded one on purpose. The reasons stand on the compatibility page of the
//! docs; here is one line for each.

#![allow(
    clippy::match_same_arms,
    reason = "each arm has its own reason, whatever it excuses"
)]

/// Parts of the differences that a call may show.
pub(super) fn of(name: &str) -> &'static [&'static str] {
    match name {
        // These were recorded with mDNS, whose text for an unknown app is another one.
        "unknown app" | "id with a slash" | "double slashes" => &["client: body: recorded"],
        // A query is sent in ASCII.
        name if name.starts_with("query ?a=") => &["app: target: recorded"],
        // A body that is known to be empty is declared as such.
        "verb POST"
        | "verb PUT"
        | "verb PATCH"
        | "verb FOO"
        | "POST with length 0"
        | "POST chunked, empty" => &[
            "app: framing",
            "app: header content-length",
            "app: header transfer-encoding",
        ],
        // TRACE has no body (RFC 9110, section 9.3.8).
        "verb TRACE" => &["app: framing", "app: header transfer-encoding"],
        // A body of unknown length is not waited for to see whether it is empty.
        "GET chunked, empty" => &["app: framing", "app: header transfer-encoding"],
        // The body is never held back.
        "expect: 100-continue" => &["app: header expect"],
        // An answer of known length needs no end of the connection.
        "HTTP/1.0" => &["client: framing"],
        "HTTP/1.0 keep-alive" => &["client: framing", "client: after", "client: header connection"],
        // A body that was cut never looks complete.
        "chunked answer cut off" => &["client:"],
        // An empty stream of events is one.
        "SSE, empty" => &["client:"],
        // A fragment is no part of a request target (RFC 9112, section 3.2) and is dropped.
        "fragment" => &["app:", "client:"],
        // Ambiguous framing is refused (RFC 9112, section 6.1).
        "length and chunked" => &["app:", "client:"],
        // The reason of a broken body is told in other words.
        "bad chunk size" => &["client: body", "client: header connection"],
        // Requests that are none are answered without a body.
        "space in the target"
        | "bad header name"
        | "bad content length"
        | "two content lengths"
        | "space before the colon"
        | "unknown transfer encoding"
        | "HTTP/2.0 on the line"
        | "header of 20000 bytes" => &[
            "client: body",
            "client: framing",
            "client: header content-type",
            "client: header date",
            "client: line",
        ],
        "no host" | "two hosts" | "bad escape in the target" => {
            &["client: framing", "client: header date", "client: line"]
        }
        _ => &[],
    }
}
