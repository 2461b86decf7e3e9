//! What the other side says of another attempt.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{HeaderName, RETRY_AFTER};

/// Of gRPC (proposal A6, "Pushback"), in trailers.
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What the other side says of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// There is to be none.
    Never,
    /// Not before this time has passed.
    After(Duration),
}

impl Pushback {
    /// What headers or trailers say: `grpc-retry-pushback-ms`, or `Retry-After` (RFC 9110, section 10.2.3). A pushback of
    /// gRPC that is negative or no number forbids another attempt; a `Retry-After` that cannot be read says nothing.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some(millis) = headers.get(GRPC_PUSHBACK) {
            let millis = std::str::from_utf8(millis.as_bytes()).ok();
            let millis: Option<u64> = millis.and_then(|millis| millis.trim().parse().ok());
            return Some(millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis))));
        }
        retry_after(headers).map(Self::After)
    }
}

/// How long `Retry-After` (RFC 9110, section 10.2.3) asks to wait: seconds, or until a date, which may be over. `None` where
/// it is missing or cannot be read.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let left = date.duration_since(SystemTime::now());
    Some(left.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(name: &'static str, value: &str) -> Option<Pushback> {
        let value = HeaderValue::from_str(value).unwrap();
        Pushback::of(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
    }

    #[test]
    fn what_is_said() {
        use Pushback::{After, Never};
        let after = |millis| Some(After(Duration::from_millis(millis)));
        for (name, value, wanted) in [
            ("retry-after", "3", after(3000)),
            ("retry-after", " 0 ", after(0)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "", None),
            ("retry-after", "99999999999999999999", None),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", after(0)),
            ("grpc-retry-pushback-ms", "250", after(250)),
            ("grpc-retry-pushback-ms", "0", after(0)),
            ("grpc-retry-pushback-ms", "-1", Some(Never)),
            ("grpc-retry-pushback-ms", "later", Some(Never)),
            ("x-other", "3", None),
        ] {
            assert_eq!(said(name, value), wanted, "{name}: {value}");
        }
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let Some(After(left)) = said("retry-after", &later) else {
            panic!("{later}");
        };
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60));
    }
}
