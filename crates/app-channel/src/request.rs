//! The headers of a request to an HTTP app.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use invoke_core::headers::{self, TRACEPARENT, TRACESTATE};
use invoke_core::trace::{TraceContext, is_state};
use invoke_core::{Head, Origin};

const GRPC_TRACE_BIN: HeaderName = HeaderName::from_static("grpc-trace-bin");
const DAPR_AUTHORITY: HeaderName = HeaderName::from_static("dapr-authority");

/// Turns the headers of an invocation into those of a request: what concerns one connection or the
/// way between sidecars goes, the content type is that of the message, and the trace context is put in.
///
/// `Host` and the framing headers are left to the caller. `Accept-Encoding` and `User-Agent` are passed on or
/// absent, never invented.
pub(crate) fn headers_of(head: &mut Head) -> HeaderMap {
    let wants_events = head.wants_events();
    let mut headers = std::mem::take(&mut head.headers);
    put_trace(head, &mut headers);
    headers::remove_hop_by_hop(&mut headers);
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        // The body is never held back for it: see the compatibility page.
        header::EXPECT,
        headers::DESTINATION_APP_ID,
        GRPC_TRACE_BIN,
    ] {
        headers.remove(name);
    }
    rename_and_drop(&mut headers);
    let content_type = match head.type_url {
        Some(_) => Some(HeaderValue::from_static("application/x-protobuf")),
        None => head.content_type.take(),
    };
    if let Some(content_type) = content_type.filter(|content_type| !content_type.is_empty()) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some(authority) = head.authority.take() {
        headers.insert(DAPR_AUTHORITY, authority);
    }
    headers::join_lines(&mut headers, &headers::BAGGAGE, b",");
    // HTTP/2 callers may send a field for each cookie. HTTP/1.1 knows one line, and so do most libraries that apps
    // read headers with, whatever they speak (RFC 9113, section 8.2.3).
    headers::join_lines(&mut headers, &header::COOKIE, b"; ");
    leave_one_user_agent(&mut headers);
    if wants_events {
        // However the caller wrote it.
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    }
    headers
}

/// A caller has one name or none.
fn leave_one_user_agent(headers: &mut HeaderMap) {
    let mut agents = headers.get_all(header::USER_AGENT).iter();
    match (agents.next(), agents.next()) {
        (Some(first), _) if first.is_empty() => {
            headers.remove(header::USER_AGENT);
        }
        (Some(first), Some(_)) => {
            let first = first.clone();
            headers.insert(header::USER_AGENT, first);
        }
        _ => {}
    }
}

/// Binary metadata has no place in an HTTP request, and `grpc-*` names would mean something to a gRPC library.
fn rename_and_drop(headers: &mut HeaderMap) {
    let is_odd = |name: &HeaderName| name.as_str().ends_with("-bin") || name.as_str().starts_with("grpc-");
    if !headers.keys().any(is_odd) {
        return;
    }
    let odd: Vec<HeaderName> = headers.keys().filter(|name| is_odd(name)).cloned().collect();
    for name in odd {
        let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        if name.as_str().ends_with("-bin") {
            continue;
        }
        if let Ok(renamed) = HeaderName::try_from(format!("dapr-{name}")) {
            for value in values {
                headers.append(renamed.clone(), value);
            }
        }
    }
}

/// Which trace context the app sees: that of this sidecar, where there is a trace. Else an HTTP caller's own `traceparent`
/// passes as it is, and a gRPC caller's comes in binary; without either it is one of zeros, since apps of Dapr expect the
/// header. Where tracing is off only what can be read passes.
fn put_trace(head: &Head, headers: &mut HeaderMap) {
    let own = head.trace;
    match head.origin {
        Origin::Http => {
            let is_sent = headers::leave_one_trace(headers);
            let sent = headers.get(TRACEPARENT).and_then(parent_in);
            match own {
                Some(own) if own.trace_id != [0; 16] => {
                    if sent.is_none_or(|sent| sent.trace_id != own.trace_id) {
                        headers.remove(TRACESTATE);
                    }
                    put_traceparent(headers, Some(own));
                }
                Some(_) if is_sent => {}
                Some(zeros) => put_traceparent(headers, Some(zeros)),
                None => {
                    if sent.is_none() {
                        headers.remove(TRACEPARENT);
                    }
                    let has_state = headers
                        .get(TRACESTATE)
                        .is_some_and(|state| is_state(state.as_bytes()));
                    if sent.is_none() || !has_state {
                        headers.remove(TRACESTATE);
                    }
                }
            }
        }
        Origin::Grpc => {
            let sent = headers
                .get(GRPC_TRACE_BIN)
                .and_then(|binary| decode(binary.as_bytes()));
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
            let own_trace = own.filter(|own| own.trace_id != [0; 16]);
            put_traceparent(headers, own_trace.or(sent).or(own));
        }
    }
}

fn parent_in(value: &HeaderValue) -> Option<TraceContext> {
    value.to_str().ok().and_then(TraceContext::from_traceparent)
}

fn put_traceparent(headers: &mut HeaderMap, context: Option<TraceContext>) {
    if let Some(context) = context
        && let Ok(parent) = HeaderValue::from_bytes(&context.to_traceparent())
    {
        headers.insert(TRACEPARENT, parent);
    }
}

/// Binary metadata is base64 on the way between sidecars.
fn decode(text: &[u8]) -> Option<TraceContext> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    let bytes = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .ok()?;
    TraceContext::from_binary(&bytes)
}

#[cfg(test)]
mod tests {
    use invoke_core::MethodPath;

    use super::*;

    fn request(origin: Origin, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut head = Head::new(MethodPath::parse("m").unwrap(), origin);
        head.trace = Some(TraceContext::default());
        head.content_type = Some(HeaderValue::from_static("text/plain"));
        for (name, value) in pairs {
            head.headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let headers = headers_of(&mut head);
        let mut pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        pairs.sort();
        pairs
    }

    const ZERO: &str = "00-00000000000000000000000000000000-0000000000000000-00";
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn what_an_app_gets_of_an_http_caller() {
        let seen = request(
            Origin::Http,
            &[
                ("Host", "sidecar"),
                ("Content-Type", "ignored/here"),
                ("Content-Length", "3"),
                ("Connection", "close, X-Gone"),
                ("X-Gone", "1"),
                ("TE", "trailers"),
                ("Expect", "100-continue"),
                ("X-Foo-Bin", "AAA="),
                ("grpc-thing", "1"),
                ("destination-app-id", "me"),
                ("Authorization", "Basic x"),
                ("User-Agent", "curl"),
                ("X-Multi", "a"),
                ("X-Multi", "b"),
                ("dapr-caller-app-id", "you"),
                ("baggage", "a=1"),
                ("baggage", "b=2"),
                ("cookie", "a=1"),
                ("cookie", "b=2; c=3"),
                ("tracestate", "lone=1"),
                ("X-Empty", ""),
            ],
        );
        let wanted = owned(&[
            ("authorization", "Basic x"),
            ("baggage", "a=1,b=2"),
            ("content-type", "text/plain"),
            ("cookie", "a=1; b=2; c=3"),
            ("dapr-caller-app-id", "you"),
            ("dapr-grpc-thing", "1"),
            ("traceparent", ZERO),
            ("user-agent", "curl"),
            ("x-empty", ""),
            ("x-multi", "a"),
            ("x-multi", "b"),
        ]);
        assert_eq!(seen, wanted);
    }

    #[test]
    fn what_a_caller_says_twice_or_not_at_all() {
        let agents = |lines: &[&str]| {
            let pairs: Vec<_> = lines.iter().map(|line| ("user-agent", *line)).collect();
            let seen = request(Origin::Http, &pairs).into_iter();
            let seen = seen.filter(|(name, _)| name == "user-agent");
            seen.map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(agents(&["a", "b"]), ["a"]);
        assert_eq!(agents(&["a", ""]), ["a"]);
        assert!(agents(&["", "b"]).is_empty());
        assert!(agents(&[""]).is_empty());

        let mut head = Head::new(MethodPath::parse("m").unwrap(), Origin::Http);
        head.content_type = Some(HeaderValue::from_static(""));
        assert!(headers_of(&mut head).is_empty());
    }

    #[test]
    fn events_are_asked_for_in_one_way() {
        for (given, wanted) in [
            (" Text/Event-Stream", "text/event-stream"),
            ("text/event-stream, */*", "text/event-stream, */*"),
        ] {
            let seen = request(Origin::Http, &[("accept", given)]);
            assert!(
                seen.contains(&("accept".to_owned(), wanted.to_owned())),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn a_state_goes_with_its_parent() {
        let state = |origin, pairs: &[(&str, &str)]| {
            let seen = request(origin, pairs).into_iter();
            let mut seen = seen.filter(|(name, _)| name.starts_with("trace"));
            let parent = seen.next().unwrap().1;
            (parent, seen.map(|(_, value)| value).collect::<Vec<_>>())
        };
        let (parent, states) = state(
            Origin::Http,
            &[
                ("traceparent", PARENT),
                ("traceparent", ZERO),
                ("tracestate", "a=1"),
                ("tracestate", "b=2"),
            ],
        );
        assert_eq!((parent.as_str(), states), (PARENT, vec!["a=1,b=2".to_owned()]));
        for (origin, pairs) in [
            (Origin::Http, &[("tracestate", "a=1")][..]),
            (Origin::Http, &[("traceparent", ""), ("tracestate", "a=1")]),
            (Origin::Grpc, &[("traceparent", PARENT), ("tracestate", "a=1")]),
        ] {
            assert_eq!(state(origin, pairs), (ZERO.to_owned(), Vec::new()), "{pairs:?}");
        }
    }

    #[test]
    fn a_span_of_this_sidecar_is_the_parent_of_the_app() {
        const OTHER: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";
        const BINARY: &str = "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE=";
        let own = TraceContext::from_traceparent(OWN);
        for (own, origin, pairs, wanted) in [
            (own, Origin::Http, &[][..], &[OWN][..]),
            (
                own,
                Origin::Http,
                &[("traceparent", PARENT), ("tracestate", "a=b")],
                &[OWN, "a=b"],
            ),
            (
                own,
                Origin::Http,
                &[("traceparent", OTHER), ("tracestate", "a=b")],
                &[OWN],
            ),
            (
                own,
                Origin::Http,
                &[("traceparent", "junk"), ("tracestate", "a=b")],
                &[OWN],
            ),
            (own, Origin::Grpc, &[("grpc-trace-bin", BINARY)], &[OWN]),
            (
                None,
                Origin::Http,
                &[("traceparent", PARENT), ("tracestate", "a=b")],
                &[PARENT, "a=b"],
            ),
            (
                None,
                Origin::Http,
                &[("traceparent", PARENT), ("tracestate", "a")],
                &[PARENT],
            ),
            (
                None,
                Origin::Http,
                &[("traceparent", "junk"), ("tracestate", "a=b")],
                &[],
            ),
            (None, Origin::Http, &[("tracestate", "a=b")], &[]),
            (None, Origin::Grpc, &[("grpc-trace-bin", BINARY)], &[PARENT]),
        ] {
            let mut head = Head::new(MethodPath::parse("m").unwrap(), origin);
            head.trace = own;
            for (name, value) in pairs {
                head.headers.append(*name, value.parse().unwrap());
            }
            let headers = headers_of(&mut head);
            let seen = [TRACEPARENT, TRACESTATE].map(|name| headers.get(name).cloned());
            let seen: Vec<_> = seen
                .iter()
                .flatten()
                .map(|value| value.to_str().unwrap())
                .collect();
            assert_eq!(seen, wanted, "{own:?} {origin:?} {pairs:?}");
        }
    }

    #[test]
    fn trace_contexts() {
        let parent = |origin, pairs: &[(&str, &str)]| {
            request(origin, pairs)
                .into_iter()
                .find(|(name, _)| name == "traceparent")
                .unwrap()
                .1
        };
        assert_eq!(parent(Origin::Http, &[("traceparent", PARENT)]), PARENT);
        assert_eq!(parent(Origin::Http, &[("traceparent", "junk")]), "junk");
        assert_eq!(parent(Origin::Grpc, &[("traceparent", PARENT)]), ZERO);
        let binary = "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE=";
        assert_eq!(parent(Origin::Grpc, &[("grpc-trace-bin", binary)]), PARENT);
    }
}
