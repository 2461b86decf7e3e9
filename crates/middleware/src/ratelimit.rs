//! `middleware.http.ratelimit`: so many requests a second for each client and path.

mod buckets;
mod client;

use go_text::{NumberError, parse_float};
use http::{HeaderName, HeaderValue, StatusCode};
use thiserror::Error;
use tokio::time::Instant;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::properties::{Duplicate, Properties};
use crate::request;
use buckets::{Buckets, Rate, Taken};

const LIMIT: HeaderName = HeaderName::from_static("x-rate-limit-limit");
const DURATION: HeaderName = HeaderName::from_static("x-rate-limit-duration");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-rate-limit-request-forwarded-for");
const REMOTE: HeaderName = HeaderName::from_static("x-rate-limit-request-remote-addr");
const BUCKET: HeaderName = HeaderName::from_static("ratelimit-limit");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// Who calls if nobody says it.
const NOBODY: &str = "0.0.0.0";

/// The rate without one of its own, in requests a second.
const DEFAULT: f64 = 100.0;

/// Why there is no rate.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RateError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error("1 error(s) decoding:\n\n* cannot parse 'MaxRequestsPerSecond' as float: {0}")]
    NoNumber(#[from] NumberError),
    #[error("metadata property maxRequestsPerSecond must be a positive value")]
    NotPositive,
}

/// A limit.
#[derive(Debug)]
pub(crate) struct RateLimit {
    buckets: Buckets,
    /// What every answer says.
    limit: HeaderValue,
    rounded: HeaderValue,
}

impl RateLimit {
    /// `maxRequestsPerSecond` is a rate, 100 unless it is given. The bucket of a client holds the requests of a second,
    /// and at least one.
    pub(crate) fn new(properties: &Properties) -> Result<Self, RateError> {
        properties.check()?;
        let rate = match properties.get("maxRequestsPerSecond") {
            None => DEFAULT,
            Some("") => 0.0,
            Some(text) => parse_float(text)?,
        };
        // What is no number or has no end would be a limit of nothing, or none.
        let rate = Rate::new(rate).ok_or(RateError::NotPositive)?;
        Ok(Self {
            limit: value(&format!("{:.2}", rate.per_second())),
            rounded: value(&format!("{:.0}", rate.per_second().round())),
            buckets: Buckets::new(rate),
        })
    }

    pub(crate) fn handle(&self, call: &mut Call) -> Verdict {
        let mut room = client::Room::default();
        if client::of(call.request.headers(), call.peer, &mut room).is_empty() {
            let nobody = HeaderValue::from_static(NOBODY);
            call.request.headers_mut().insert(client::FORWARDED_FOR, nobody);
            return self.judge(call, NOBODY);
        }
        let client = client::of(call.request.headers(), call.peer, &mut room);
        self.judge(call, client)
    }

    fn judge(&self, call: &Call, client: &str) -> Verdict {
        let key = (client, &*request::path(&call.request));
        let taken = self.buckets.take(key, Instant::now());
        let headers = self.headers(call, taken);
        if let Taken::Left(_) = taken {
            return Ok(After::Add(headers));
        }
        let answer = refused(
            StatusCode::TOO_MANY_REQUESTS,
            "You have reached maximum request limit.",
        );
        Err(Box::new(After::Add(headers).apply(answer)))
    }

    fn headers(&self, call: &Call, taken: Taken) -> Vec<(HeaderName, HeaderValue)> {
        let left = match taken {
            Taken::Left(left) => left,
            Taken::Nothing => 0,
        };
        let mut room = client::Room::default();
        let peer = call.peer.map(|peer| value(room.write(peer)));
        let mut headers = Vec::with_capacity(7);
        headers.extend([
            (LIMIT, self.limit.clone()),
            (DURATION, HeaderValue::from_static("1")),
            (REMOTE, peer.unwrap_or(HeaderValue::from_static(""))),
            (BUCKET, self.rounded.clone()),
            (RESET, HeaderValue::from_static("1")),
            (REMAINING, left.into()),
        ]);
        let forwarded = call.request.headers().get(client::FORWARDED_FOR);
        if let Some(forwarded) = forwarded.filter(|value| !value.as_bytes().trim_ascii().is_empty()) {
            headers.push((FORWARDED_FOR, forwarded.clone()));
        }
        headers
    }
}

fn value(text: &str) -> HeaderValue {
    // Digits, dots and colons may all stand in a header.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use invoke_core::Body;

    use super::*;

    fn of(rate: &str) -> Result<RateLimit, RateError> {
        let name = "MAXrequestsPerSecond".to_owned();
        RateLimit::new(&Properties::new([(name, rate.to_owned())]))
    }

    fn call(path: &str, headers: &[(&'static str, &'static str)]) -> Call {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Call {
            request: request.body(Body::empty()).unwrap(),
            peer: Some("127.0.0.1:7".parse().unwrap()),
        }
    }

    #[test]
    fn rates() {
        for rate in ["0", "-1", "", "NaN", "inf", "-inf"] {
            assert_eq!(of(rate).unwrap_err(), RateError::NotPositive, "{rate}");
        }
        assert_eq!(
            of("1e999").unwrap_err(),
            RateError::NoNumber(parse_float("1e999").unwrap_err())
        );
        for rate in ["abc", "1,5", " 1", "1 ", "_1", "1_", "1__0", "1_.5"] {
            assert_eq!(
                of(rate).unwrap_err(),
                RateError::NoNumber(parse_float(rate).unwrap_err())
            );
        }
        for (rate, limit, rounded) in [
            ("2.5", "2.50", "3"),
            ("1e3", "1000.00", "1000"),
            ("0.4", "0.40", "0"),
            ("1_0", "10.00", "10"),
        ] {
            let limited = of(rate).unwrap();
            assert_eq!(
                (&limited.limit, &limited.rounded),
                (&value(limit), &value(rounded))
            );
        }
        assert_eq!(RateLimit::new(&Properties::default()).unwrap().limit, "100.00");
    }

    #[test]
    fn answers_say_what_is_left() {
        let limit = of("2").unwrap();
        for (left, passes) in [("1", true), ("0", true), ("0", false)] {
            let verdict = limit.handle(&mut call("/a", &[]));
            assert_eq!(verdict.is_ok(), passes);
            let headers: http::HeaderMap = match verdict {
                Ok(After::Add(headers)) => headers.into_iter().collect(),
                Ok(other) => panic!("{other:?}"),
                Err(answer) => {
                    assert_eq!(answer.status(), 429);
                    answer.headers().clone()
                }
            };
            assert_eq!(headers[REMAINING], left);
            assert_eq!(headers[REMOTE], "127.0.0.1:7");
            assert!(!headers.contains_key(FORWARDED_FOR));
        }
        assert!(
            limit.handle(&mut call("/b", &[])).is_ok(),
            "each path has its own"
        );
        let other = [("x-forwarded-for", "1.2.3.4")];
        assert!(
            limit.handle(&mut call("/a", &other)).is_ok(),
            "so has each client"
        );
    }

    #[test]
    fn a_call_of_nobody_has_an_address() {
        let limit = of("1").unwrap();
        let mut call = call("/a", &[]);
        call.peer = None;
        assert!(limit.handle(&mut call).is_ok());
        assert_eq!(call.request.headers()["x-forwarded-for"], "0.0.0.0");
        assert!(limit.handle(&mut call).is_err());
    }
}
