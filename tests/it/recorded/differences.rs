//! Where an answer differs from the recorded one on purpose. The reasons stand on the compatibility page of the
//! docs; here is one line for each.

#![allow(
    clippy::match_same_arms,
    reason = "each arm has its own reason, whatever it excuses"
)]

use serde_json::Value;

/// Parts of the differences that a call may show.
pub(super) fn of(call: &Value) -> Vec<&'static str> {
    let name = call["name"].as_str().expect("a name");
    let mut all = by_name(name).to_vec();
    if call["api"] == "grpc" {
        all.extend(of_grpc(name));
    }
    if call["app_saw"]["app.app"] == "gapp" {
        // The client's name passes, and nothing is put in its place. What an app may compress is up to its caller.
        all.push("app: header user-agent");
    }
    all
}

fn of_grpc(name: &str) -> &'static [&'static str] {
    if name.starts_with("invoke") {
        // The length of a message is known; a body of known length needs no chunks.
        &[
            "app: framing",
            "app: header content-length",
            "app: header transfer-encoding",
        ]
    } else {
        // What the caller says of its messages passes.
        &["app: header content-type"]
    }
}

fn by_name(name: &str) -> &'static [&'static str] {
    match name {
        // These were recorded with mDNS, whose text for an unknown app is another one.
        "unknown app" | "id with a slash" | "double slashes" => &["client: body: recorded"],
        "invoke unknown" | "proxy unknown app" => &["client: head.header grpc-message"],
        // An app is told who calls, also when it calls itself.
        "proxy own app" => &["app: header dapr-calle"],
        // Who calls and who is called is replaced, never added to.
        "proxy by callee id" => &["app: header dapr-callee-app-id"],
        "proxy metadata" => &[
            "app: header dapr-caller-app-id",
            // A caller's trace context passes in the form that it has.
            "app: header traceparent",
            "app: header grpc-trace-bin",
        ],
        // Nothing is dialled where there is no app.
        "proxy no app" => &["client: head.header grpc-message"],
        // The head of an answer is passed on when it comes.
        "proxy no response message" | "proxy head without message" => &["client:"],
        // What was refused, and certainly not seen, goes out again.
        "proxy refused stream" => &["app: calls"],
        // The app of the recording had an answer of its own for this one.
        "proxy OnInvoke" => &["client: message0"],
        // What a policy judges must be what the app sees: a path in its normal form.
        "proxy dotted path" | "proxy double slash" => &["app:", "client:"],
        // What the app says of its messages passes.
        "proxy grpc+json" => &["client: head.header content-type"],
        // The status of an app is not read, so nothing is wrong with its details.
        "proxy details mismatch" => &[
            "client: head.header grpc-message",
            "client: head.header grpc-status:",
        ],
        // An answer that no method of ours made has no trace context; a status without it needs no trailers.
        "Foo" => &["client:"],
        // The number of the port was recorded as a text.
        "GetMetadata" => &["client: message0"],
        // Names of gRPC are no names of HTTP, even when a code of gRPC is taken for a status of HTTP.
        "invoke, app code 100" | "invoke, app code 404" => &["client: head.header dapr-content-type"],
        // What gRPC cannot carry is left out, and the call goes on.
        "UTF-8 header, gRPC app" => &["app:", "client:"],
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
        // Text in another alphabet fails no call.
        "non-UTF-8 header" => &["app:", "client:"],
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
