//! Cross-origin requests (`--allowed-origins`).

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use invoke_core::Body;

const METHODS: &[&str] = &["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Which origins may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    any: bool,
    /// Lower-case; at most one `*` each.
    origins: Vec<String>,
}

impl Cors {
    /// Reads `--allowed-origins`: empty for none of this at all, `*` for every origin, else a comma-separated
    /// list whose entries may have one `*`.
    pub fn parse(allowed: &str) -> Option<Self> {
        if allowed.is_empty() {
            return None;
        }
        let origins: Vec<String> = allowed
            .split(',')
            .map(|origin| origin.trim().to_lowercase())
            .collect();
        Some(Self {
            any: origins.iter().any(|origin| origin == "*"),
            origins,
        })
    }

    pub(crate) fn allows(&self, origin: &str) -> bool {
        let origin = origin.to_lowercase();
        self.any
            || self.origins.iter().any(|allowed| match allowed.split_once('*') {
                None => *allowed == origin,
                Some((start, end)) => {
                    origin.len() >= start.len() + end.len()
                        && origin.starts_with(start)
                        && origin.ends_with(end)
                }
            })
    }

    /// The value of `Access-Control-Allow-Origin` for a request that may be made.
    fn allow_origin(&self, headers: &HeaderMap, method: &str) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN).filter(|origin| !origin.is_empty())?;
        let is_known = METHODS.iter().any(|known| known.eq_ignore_ascii_case(method));
        let is_allowed = is_known && self.allows(origin.to_str().ok()?);
        is_allowed.then(|| {
            if self.any {
                HeaderValue::from_static("*")
            } else {
                origin.clone()
            }
        })
    }

    /// The answer to a preflight request, before anything else is asked.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let headers = request.headers();
        let asked = headers
            .get(header::ACCESS_CONTROL_REQUEST_METHOD)
            .filter(|asked| !asked.is_empty())?;
        if *request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::OK;
        let answer = response.headers_mut();
        for name in [
            "Origin",
            "Access-Control-Request-Method",
            "Access-Control-Request-Headers",
        ] {
            answer.append(header::VARY, HeaderValue::from_static(name));
        }
        let method = asked.to_str().unwrap_or_default().to_uppercase();
        if let Some(origin) = self.allow_origin(headers, &method) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if let Ok(method) = HeaderValue::from_str(&method) {
                answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
            }
            if let Some(names) = requested_headers(headers) {
                answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
        }
        Some(response)
    }

    /// What an ordinary answer says of its origin. `request` holds the headers that matter, taken before the
    /// request was passed on.
    pub(crate) fn of_request<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        self.allow_origin(request.headers(), request.method().as_str())
    }

    /// Puts it on the answer.
    pub(crate) fn mark(headers: &mut HeaderMap, allow_origin: Option<HeaderValue>) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = allow_origin {
            headers.append(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}

/// The names that a preflight asks for, in canonical casing: letters, digits and `-_.`, apart from blanks and commas.
fn requested_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS)?.as_bytes();
    let names: Vec<String> = asked
        .split(|byte| matches!(byte, b',' | b' '))
        .map(canonical)
        .filter(|name| !name.is_empty())
        .collect();
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok())?
}

fn canonical(name: &[u8]) -> String {
    let mut at_start = true;
    let mut canonical = String::with_capacity(name.len());
    for byte in name {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(byte) {
            let cased = if at_start {
                byte.to_ascii_uppercase()
            } else {
                byte.to_ascii_lowercase()
            };
            canonical.push(char::from(cased));
        }
        at_start = *byte == b'-';
    }
    canonical
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preflight(allowed: &str, origin: &str, method: &str) -> Option<String> {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", "x-foo,content-TYPE")
            .body(())
            .unwrap();
        let response = Cors::parse(allowed).unwrap().preflight(&request).unwrap();
        assert_eq!(response.headers().get_all(header::VARY).iter().count(), 3);
        if let Some(names) = response.headers().get(header::ACCESS_CONTROL_ALLOW_HEADERS) {
            assert_eq!(names, "X-Foo, Content-Type");
        }
        let origin = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        origin.map(|origin| origin.to_str().unwrap().to_owned())
    }

    #[test]
    fn ordinary_requests_have_their_verb_in_any_case() {
        for (method, wanted) in [
            ("GET", true),
            ("get", true),
            ("Options", true),
            ("TRACE", false),
            ("FOO", false),
        ] {
            let request = Request::builder().method(method).header("Origin", "http://a");
            let allowed = Cors::parse("*").unwrap().of_request(&request.body(()).unwrap());
            assert_eq!(allowed.is_some(), wanted, "{method}");
        }
    }

    #[test]
    fn names_that_are_asked_for() {
        for (asked, wanted) in [
            ("x-foo,content-TYPE", Some("X-Foo, Content-Type")),
            (" x-a  x_b ,, x.c", Some("X-A, X_b, X.c")),
            ("x-2a, 3b", Some("X-2a, 3b")),
            ("x\"y<z>", Some("Xyz")),
            ("", None),
            (", \"", None),
        ] {
            let value = HeaderValue::from_static(asked);
            let headers = HeaderMap::from_iter([(header::ACCESS_CONTROL_REQUEST_HEADERS, value)]);
            let names = requested_headers(&headers);
            assert_eq!(
                names.as_ref().map(|names| names.to_str().unwrap()),
                wanted,
                "{asked:?}"
            );
        }
    }

    #[test]
    fn origins() {
        assert_eq!(Cors::parse(""), None);
        for (allowed, origin, method, wanted) in [
            ("*", "http://a", "GET", Some("*")),
            ("*", "http://a", "get", Some("*")),
            ("*", "http://a", "TRACE", None),
            ("http://a,http://b", "http://B", "PUT", Some("http://B")),
            ("http://a", "http://c", "GET", None),
            (
                "http://*.example.org",
                "http://x.example.org",
                "GET",
                Some("http://x.example.org"),
            ),
            ("http://*.example.org", "http://example.org", "GET", None),
        ] {
            assert_eq!(
                preflight(allowed, origin, method).as_deref(),
                wanted,
                "{allowed} {origin}"
            );
        }
    }
}
