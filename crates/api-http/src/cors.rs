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

    fn allows(&self, origin: &str) -> bool {
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
        let is_allowed = self.allows(origin.to_str().ok()?) && METHODS.contains(&method);
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

/// The names that a preflight asks for, in canonical casing.
fn requested_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)?
        .to_str()
        .ok()?;
    let names = asked
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(canonical);
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok())?
}

fn canonical(name: &str) -> String {
    let mut at_start = true;
    name.chars()
        .map(|character| {
            let cased = if at_start {
                character.to_ascii_uppercase()
            } else {
                character.to_ascii_lowercase()
            };
            at_start = character == '-';
            cased
        })
        .collect()
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
