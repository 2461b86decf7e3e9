//! What a request asks for, by its method and its cleaned path.

use std::borrow::Cow;

use http::Method;
use invoke_core::clean_path;

/// A route of the API. What is none of these is an invocation, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Healthz,
    OutboundHealthz,
    Metadata,
    /// The key, still escaped.
    SetMetadata(&'a str),
    Shutdown,
    /// An API of another building block: the rest of the path after its version.
    OutOfScope(crate::out_of_scope::Call<'a>),
    Invocation,
}

/// The path that routes are matched against: the escaped path, cleaned. Handlers see the path as it came.
pub(crate) fn routing_path(path: &str) -> Cow<'_, str> {
    let is_clean = path.len() > 1
        && path.starts_with('/')
        && path[1..]
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."));
    if is_clean || path == "/" {
        return Cow::Borrowed(path);
    }
    Cow::Owned(String::from_utf8_lossy(&clean_path(path.as_bytes())).into_owned())
}

/// The route of a request. `HEAD` is not `GET`.
pub(crate) fn route<'a>(method: &Method, path: &'a str) -> Route<'a> {
    match (method.as_str(), path) {
        ("GET", "/v1.0/healthz") => Route::Healthz,
        ("GET", "/v1.0/healthz/outbound") => Route::OutboundHealthz,
        ("GET", "/v1.0/metadata") => Route::Metadata,
        ("POST", "/v1.0/shutdown") => Route::Shutdown,
        ("PUT", path) if path.starts_with("/v1.0/metadata/") => {
            let key = &path["/v1.0/metadata/".len()..];
            if key.is_empty() || key.contains('/') {
                Route::Invocation
            } else {
                Route::SetMetadata(key)
            }
        }
        // By far the most requests.
        (_, path) if path.starts_with("/v1.0/invoke/") => Route::Invocation,
        (method, path) => {
            crate::out_of_scope::find(method, path).map_or(Route::Invocation, Route::OutOfScope)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        for (method, path, wanted) in [
            ("GET", "/v1.0/healthz", Route::Healthz),
            ("GET", "//v1.0/./healthz/", Route::Healthz),
            ("HEAD", "/v1.0/healthz", Route::Invocation),
            ("get", "/v1.0/healthz", Route::Invocation),
            ("GET", "/v1.0%2Fhealthz", Route::Invocation),
            ("GET", "/v1.0/metadata/", Route::Metadata),
            ("PUT", "/v1.0/metadata/a%2Fb", Route::SetMetadata("a%2Fb")),
            ("PUT", "/v1.0/metadata/a/b", Route::Invocation),
            ("POST", "/v1.0/metadata", Route::Invocation),
            ("PUT", "/v1.0/shutdown", Route::Invocation),
            ("POST", "/v1.0/shutdown", Route::Shutdown),
            ("GET", "/", Route::Invocation),
            ("GET", "/v1.0/invoke/a/method/v1.0/healthz", Route::Invocation),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let cleaned = routing_path(path);
            assert_eq!(route(&method, &cleaned), wanted, "{method} {path}");
        }
    }
}
