//! From the reply of an app to the answer that the caller gets.

use std::future::poll_fn;
use std::pin::Pin;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::Body as _;
use invoke_core::{Body, Reply, Route, WireStatus, headers};

use crate::details;
use crate::errors::{ApiError, MALFORMED_RESPONSE, quoted};
use crate::sniff;

/// What of the request decides how its answer looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTraits {
    /// The body of the request was of unknown length.
    pub(crate) is_streaming: bool,
    /// The request asked for server-sent events.
    pub(crate) wants_events: bool,
    pub(crate) is_head: bool,
    pub(crate) version: Version,
}

/// Makes the answer. An app's error status is an answer like any other.
pub(crate) async fn answer(mut reply: Reply, asked: RequestTraits) -> Result<Response<Body>, ApiError> {
    let mut answer_headers = std::mem::take(&mut reply.headers);
    let is_head_of_http = asked.is_head && reply.status.is_http();
    let length = length_for_head(&answer_headers).filter(|_| is_head_of_http);
    clean(&mut answer_headers);
    if asked.wants_events && is_event_stream(&reply) {
        return Ok(events(reply, answer_headers, asked));
    }
    let (status, mut body) = match final_status(&reply.status) {
        Some(status) => (status, std::mem::take(&mut reply.body)),
        None => of_grpc(&mut reply)?,
    };
    let is_plain_success = (200..400).contains(&status.as_u16());
    let content_type = match (&reply.type_url, reply.content_type.take()) {
        (Some(_), _) => Some(HeaderValue::from_static("application/x-protobuf")),
        (None, Some(content_type)) => Some(content_type),
        (None, None) if !is_plain_success && !asked.is_streaming && reply.status.is_http() => {
            Some(HeaderValue::from_static("application/json"))
        }
        (None, None) => sniffed(&mut body, &answer_headers).await,
    };
    if let Some(content_type) = content_type.filter(|_| status != StatusCode::NOT_MODIFIED) {
        answer_headers.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some(length) = length {
        answer_headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = answer_headers;
    Ok(response)
}

/// How long the answer to a GET would be, as the app says in its answer to HEAD.
fn length_for_head(answer: &HeaderMap) -> Option<u64> {
    answer.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Headers that an app's answer does not pass on.
fn clean(answer: &mut HeaderMap) {
    headers::remove_hop_by_hop(answer);
    headers::leave_one_trace(answer);
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        headers::DESTINATION_APP_ID,
    ] {
        answer.remove(name);
    }
    let is_odd = |name: &HeaderName| name.as_str().ends_with("-bin") || name.as_str().starts_with("grpc-");
    if !answer.keys().any(is_odd) {
        return;
    }
    let odd: Vec<HeaderName> = answer.keys().filter(|name| is_odd(name)).cloned().collect();
    for name in odd {
        let values: Vec<HeaderValue> = answer.get_all(&name).iter().cloned().collect();
        answer.remove(&name);
        if name.as_str().ends_with("-bin") {
            continue;
        }
        if let Ok(renamed) = HeaderName::try_from(format!("dapr-{name}")) {
            for value in values {
                answer.append(renamed.clone(), value);
            }
        }
    }
}

/// An event stream of another sidecar comes with the status 0, one of an own app with its own 2xx.
fn is_event_stream(reply: &Reply) -> bool {
    match reply.route {
        Route::Remote => reply.status.code == 0 || (200..300).contains(&reply.status.code),
        Route::Local | Route::External => (200..300).contains(&reply.status.code),
    }
}

/// Events are always answered with 200.
fn events(mut reply: Reply, mut answer: HeaderMap, asked: RequestTraits) -> Response<Body> {
    if let Some(content_type) = reply.content_type.take() {
        answer.insert(header::CONTENT_TYPE, content_type);
    }
    if reply.route == Route::Remote {
        answer.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if asked.version == Version::HTTP_11 {
            answer.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        }
    }
    let mut response = Response::new(reply.body);
    *response.headers_mut() = answer;
    response
}

/// The HTTP status of an app, if it is one that an answer can end with. A gRPC app may fail with any number: what is no
/// such status is shown as its gRPC status is.
fn final_status(status: &WireStatus) -> Option<StatusCode> {
    if !status.is_http() {
        return None;
    }
    let code = u16::try_from(status.code).ok()?;
    let status = StatusCode::from_u16(code).ok()?;
    (!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS).then_some(status)
}

/// The status of a gRPC app as HTTP: its answer, or its status as JSON.
fn of_grpc(reply: &mut Reply) -> Result<(StatusCode, Body), ApiError> {
    let status = &reply.status;
    if status.code == 0 {
        return Ok((StatusCode::OK, std::mem::take(&mut reply.body)));
    }
    let mut json = format!("{{\"code\":{}", status.code);
    if !status.message.is_empty() {
        json.push_str(",\"message\":");
        json.push_str(&quoted(&status.message));
    }
    if !status.details.is_empty() {
        let details: Result<Vec<String>, _> = status.details.iter().map(details::shown).collect();
        let details = details.map_err(|error| ApiError::internal(MALFORMED_RESPONSE, error.to_string()))?;
        json.push_str(",\"details\":[");
        json.push_str(&details.join(","));
        json.push(']');
    }
    json.push('}');
    Ok((http_of_grpc(status.code), Body::full(json)))
}

/// The HTTP status for a gRPC code, as the gRPC gateway maps them.
fn http_of_grpc(code: i32) -> StatusCode {
    match code {
        0 => StatusCode::OK,
        1 => StatusCode::REQUEST_TIMEOUT,
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An answer of middleware. One that does not say what it is has a content type by its first bytes, as in Dapr.
pub(crate) fn named(mut answer: Response<Body>) -> Response<Body> {
    let headers = answer.headers();
    let is_named =
        headers.contains_key(header::CONTENT_TYPE) || headers.contains_key(header::CONTENT_ENCODING);
    let data = answer
        .body()
        .as_full()
        .filter(|data| !is_named && !data.is_empty());
    if let Some(kind) = data.map(sniff::content_type) {
        let kind = HeaderValue::from_static(kind);
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}

/// The content type by the first bytes, for an app that named none. The head waits for them, as it does in Dapr.
async fn sniffed(body: &mut Body, answer: &HeaderMap) -> Option<HeaderValue> {
    if answer.contains_key(header::CONTENT_ENCODING) || body.is_end_stream() {
        return None;
    }
    if let Some(data) = body.as_full() {
        return Some(HeaderValue::from_static(sniff::content_type(data)));
    }
    let first = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    let rest = std::mem::take(body);
    let kind = match &first {
        Some(Ok(frame)) => frame.data_ref().map(|data| sniff::content_type(data)),
        Some(Err(_)) | None => None,
    };
    if let Some(first) = first {
        *body = rest.preceded_by(first);
    }
    kind.map(HeaderValue::from_static)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;

    use super::*;

    fn asked() -> RequestTraits {
        RequestTraits {
            is_streaming: false,
            wants_events: false,
            is_head: false,
            version: Version::HTTP_11,
        }
    }

    fn reply(code: i32, body: &'static str) -> Reply {
        let mut reply = Reply::new(
            WireStatus {
                code,
                ..WireStatus::default()
            },
            Route::Remote,
        );
        reply.body = Body::full(body);
        reply
    }

    async fn of(reply: Reply) -> (u16, Option<String>, String) {
        let response = answer(reply, asked()).await.unwrap();
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|value| value.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn statuses_and_content_types() {
        let json = Some("application/json".to_owned());
        let text = Some("text/plain; charset=utf-8".to_owned());
        assert_eq!(of(reply(200, "hi")).await, (200, text.clone(), "hi".into()));
        assert_eq!(of(reply(200, "")).await, (200, None, String::new()));
        assert_eq!(of(reply(404, "hi")).await, (404, json.clone(), "hi".into()));
        for status in [101, 206, 304, 404, 599, 999] {
            assert_eq!(of(reply(status, "")).await.0, status as u16);
        }
        for code in [100, 102, 103, 199, 1000, 70_000, i32::MAX] {
            let mut odd = reply(code, "");
            odd.status.message = "odd".into();
            let shown = format!("{{\"code\":{code},\"message\":\"odd\"}}");
            assert_eq!(of(odd).await, (500, json.clone(), shown), "{code}");
        }
        let mut grpc = reply(3, "ignored");
        grpc.status.message = "bad".into();
        assert_eq!(
            of(grpc).await,
            (400, text.clone(), "{\"code\":3,\"message\":\"bad\"}".into())
        );
        assert_eq!(of(reply(20, "")).await, (500, text, "{\"code\":20}".into()));
        let mut typed = reply(0, "x");
        typed.type_url = Some("t".into());
        assert_eq!(of(typed).await.1.as_deref(), Some("application/x-protobuf"));
    }

    #[tokio::test]
    async fn a_detail_of_unknown_type_cannot_be_shown() {
        let mut reply = reply(3, "");
        reply.status.details.push(invoke_core::StatusDetail {
            type_url: "a/b".into(),
            value: "x".into(),
        });
        let error = answer(reply, asked()).await.unwrap_err();
        assert_eq!(
            error.message,
            "proto: google.protobuf.Any: unable to resolve \"a/b\": not found"
        );
    }

    #[tokio::test]
    async fn headers_are_cleaned() {
        let mut reply = reply(200, "x");
        for (name, value) in [
            ("connection", "x-gone"),
            ("x-gone", "1"),
            ("content-length", "77"),
            ("dapr-app-id", "me"),
            ("x-bin", "1"),
            ("grpc-foo", "1"),
            ("set-cookie", "a"),
        ] {
            reply
                .headers
                .append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let response = answer(reply, asked()).await.unwrap();
        let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["content-type", "dapr-app-id", "dapr-grpc-foo", "set-cookie"]
        );
    }

    #[tokio::test]
    async fn events_are_answered_with_200() {
        let events = RequestTraits {
            wants_events: true,
            ..asked()
        };
        for (route, code, wanted) in [
            (Route::Remote, 0, 200),
            (Route::Local, 202, 200),
            (Route::Local, 404, 404),
            (Route::Remote, 200, 200),
        ] {
            let reply = Reply {
                route,
                ..reply(code, "data: 1\n\n")
            };
            let response = answer(reply, events).await.unwrap();
            assert_eq!(response.status(), wanted, "{route:?} {code}");
            let is_marked = response.headers().get(header::CACHE_CONTROL).is_some();
            assert_eq!(is_marked, route == Route::Remote);
        }
    }

    #[test]
    fn answers_of_middleware_are_named() {
        for (body, header, wanted) in [
            ("<html>", None, Some("text/html; charset=utf-8")),
            ("no", None, Some("text/plain; charset=utf-8")),
            ("", None, None),
            ("no", Some(("content-type", "text/x")), Some("text/x")),
            ("no", Some(("content-encoding", "gzip")), None),
        ] {
            let mut answer = Response::new(Body::full(body));
            if let Some((name, value)) = header {
                answer.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            let answer = named(answer);
            let kind = answer.headers().get(header::CONTENT_TYPE);
            assert_eq!(kind.map(|kind| kind.to_str().unwrap()), wanted, "{body}");
        }
    }

    #[tokio::test]
    async fn a_stream_is_sniffed_by_its_first_piece() {
        let (mut sender, body) = Channel::<bytes::Bytes, invoke_core::BodyError>::new(4);
        sender.send_data("<html>".into()).await.unwrap();
        let mut reply = reply(200, "");
        reply.body = Body::stream(body);
        let response = answer(reply, asked()).await.unwrap();
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        sender.send_data("x".into()).await.unwrap();
        drop(sender);
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "<html>x"
        );
    }
}
