//! `Upgrade: h2c` (RFC 7540, section 3.2): from HTTP/1.1 to HTTP/2 on the same connection.
//!
//! The request that asks for the upgrade is stream 1 of the new connection, and its `HTTP2-Settings` are the client's
//! first.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use http2::RawQuery;

use super::unread::Http1Body;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The request that asked for the upgrade, until the connection of HTTP/2 begins with it.
#[derive(Clone, Debug)]
pub(super) struct UpgradeRequest {
    /// What the client's `HTTP2-Settings` say.
    pub(super) settings: Vec<u8>,
    /// The request; its body is a [`KeptBody`] among its extensions.
    pub(super) request: Request<()>,
}

/// The body of the request that asked for the upgrade.
#[derive(Clone, Debug)]
pub(super) struct KeptBody(pub(super) Bytes);

/// Whether a request asks for HTTP/2 on its connection.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let names = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    names(header::UPGRADE, "h2c") && names(header::CONNECTION, "HTTP2-Settings")
}

/// Reads the request to its end and makes the answer that switches the protocol. `limit` bounds its body.
pub(super) async fn accept(
    request: Request<Http1Body>,
    limit: usize,
) -> Result<(Response<Full<Bytes>>, UpgradeRequest), Response<Full<Bytes>>> {
    let refused = |status| {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = status;
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    };
    let Some(settings) = settings(request.headers()) else {
        return Err(refused(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let (mut parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, limit).collect().await else {
        return Err(refused(StatusCode::INTERNAL_SERVER_ERROR));
    };
    for name in [
        header::UPGRADE,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        HTTP2_SETTINGS,
    ] {
        parts.headers.remove(name);
    }
    parts.version = http::Version::HTTP_2;
    let raw_query = parts.extensions.remove::<RawQuery>();
    // hyper's own extensions belong to a connection of HTTP/1, which this one is no more.
    parts.extensions.clear();
    if let Some(raw_query) = raw_query {
        parts.extensions.insert(raw_query);
    }
    parts.extensions.insert(KeptBody(body.to_bytes()));
    let request = Request::from_parts(parts, ());
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer
        .headers_mut()
        .insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    Ok((answer, UpgradeRequest { settings, request }))
}

/// One header, base64url, a whole number of settings of six bytes each.
fn settings(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(HTTP2_SETTINGS).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let settings = URL_SAFE_NO_PAD
        .decode(value.as_bytes())
        .or_else(|_| URL_SAFE.decode(value.as_bytes()));
    settings.ok().filter(|settings| settings.len().is_multiple_of(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_an_upgrade() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
                .collect()
        };
        let asked: HeaderMap = headers(&[("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")]);
        assert!(is_asked_for(&asked));
        assert!(!is_asked_for(&headers(&[
            ("upgrade", "h2c"),
            ("connection", "Upgrade")
        ])));
        assert!(!is_asked_for(&headers(&[
            ("upgrade", "websocket"),
            ("connection", "HTTP2-Settings")
        ])));
    }

    #[test]
    fn what_settings_say() {
        for (values, wanted) in [
            (&["AAMAAABk"][..], Some(&[0, 3, 0, 0, 0, 100][..])),
            (&["AAMAAABkAAQAoAAAAAIAAAA"], None),
            (&["AAMAAABkAAM="], None),
            (&[""], Some(&[])),
            (&["!"], None),
            (&["AAMAAABk", "AAMAAABk"], None),
            (&[], None),
        ] {
            let values = values.iter().map(|value| HeaderValue::from_static(value));
            let headers: HeaderMap = values.map(|value| (HTTP2_SETTINGS, value)).collect();
            assert_eq!(settings(&headers).as_deref(), wanted, "{headers:?}");
        }
    }
}
