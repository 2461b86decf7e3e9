//! HTTP/2 in clear text, on a port that speaks HTTP/1 too: what an HTTP server does with requests and answers beyond
//! the protocol itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use http2::{Budget, Config, Linger, RecvBody};

use super::upgrade::KeptBody;
use super::{Handler, RequestBody, date, vetting};

/// The limits of an HTTP/2 server.
#[derive(Clone, Debug)]
pub struct H2Config {
    /// The longest header list, in bytes as RFC 9113, section 6.5.2 counts them.
    pub max_header_list: u32,
    /// How many streams a client may have open.
    pub max_concurrent_streams: u32,
    /// The longest frame that is accepted, in bytes.
    pub max_frame: u32,
    /// How many bytes of one stream may be on the way unread.
    pub stream_window: u32,
    /// How many bytes of all streams together may be on the way unread.
    pub connection_window: u32,
    /// What the streams of all connections may hold together.
    pub budget: Arc<Budget>,
    /// How many bytes the body of a request that asks for `Upgrade: h2c` may have.
    pub max_upgrade_body: usize,
}

/// How many bytes of one answer wait for its client.
const MAX_QUEUED: usize = 64 * 1024;
/// How much of a request is still taken when it was answered before its end. As much as HTTP/1 reads, see `unread`.
const LINGER: Linger = Linger {
    bytes: 256 * 1024,
    time: Duration::from_secs(2),
};

/// What a connection keeps to.
pub(super) fn bounds(config: &H2Config) -> Config {
    Config {
        stream_window: config.stream_window,
        connection_window: config.connection_window,
        max_header_list: config.max_header_list,
        max_frame: config.max_frame,
        max_streams: config.max_concurrent_streams,
        budget: Arc::clone(&config.budget),
        max_queued: MAX_QUEUED,
        linger: Some(LINGER),
        ..Config::default()
    }
}

/// Answers a request.
pub(super) async fn answer<H: Handler>(
    handler: H,
    mut request: Request<RecvBody>,
    peer: Option<SocketAddr>,
) -> Response<Either<H::Body, Full<Bytes>>> {
    let kept = request.extensions_mut().remove::<KeptBody>();
    if !vetting::is_escaped_well(request.uri().path()) {
        let mut refused = vetting::plain(StatusCode::BAD_REQUEST, "400 Bad Request");
        complete(&mut refused, request.method());
        return refused.map(Either::Right);
    }
    join_cookies(request.headers_mut());
    let method = request.method().clone();
    let request = request.map(|body| match kept {
        Some(KeptBody(kept)) => RequestBody::Kept(Full::new(kept)),
        None => RequestBody::Http2(body),
    });
    let mut answer = handler.call_of(request, peer).await;
    complete(&mut answer, &method);
    answer.map(Either::Left)
}

/// Clients may send each cookie in a field of its own. What is no part of HTTP/2 gets one field (RFC 9113, section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The fields that every answer of an HTTP server has.
fn complete<B: http_body::Body>(answer: &mut Response<B>, method: &Method) {
    let status = answer.status();
    let has_length = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // The answer to HEAD has no body to be told the length of, unless it is what GET would give.
    if has_length
        && !answer.headers().contains_key(header::CONTENT_LENGTH)
        && let Some(length) = answer.body().size_hint().exact()
        && (length > 0 || method != Method::HEAD)
    {
        answer.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    answer.headers_mut().entry(header::DATE).or_insert_with(date::now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_one_field() {
        for (fields, wanted) in [
            (&[][..], None),
            (&["a=1"], Some("a=1")),
            (&["a=1; b=2"], Some("a=1; b=2")),
            (&["a=1", "b=2", "c=\"x; y\""], Some("a=1; b=2; c=\"x; y\"")),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::COOKIE, HeaderValue::from_static(field));
            }
            join_cookies(&mut headers);
            let joined: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(joined, wanted.into_iter().collect::<Vec<_>>(), "{fields:?}");
        }
    }

    #[test]
    fn lengths() {
        for (method, status, body, wanted) in [
            (Method::GET, 200, "abc", Some("3")),
            (Method::GET, 200, "", Some("0")),
            (Method::HEAD, 404, "abc", Some("3")),
            (Method::HEAD, 200, "", None),
            (Method::GET, 204, "", None),
            (Method::GET, 304, "", None),
        ] {
            let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            complete(&mut answer, &method);
            let length = answer.headers().get(header::CONTENT_LENGTH);
            assert_eq!(
                length.map(|length| length.to_str().unwrap()),
                wanted,
                "{method} {status}"
            );
            assert!(answer.headers().contains_key(header::DATE));
        }
    }
}
