//! What a request asks for, by its method and its cleaned path.

use std::borrow::Cow;

use http::Method;
use invoke_core::clean_path;

use crate::access::Access;
use crate::out_of_scope;

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
    OutOfScope(out_of_scope::Call<'a>),
    Invocation,
    /// The path is there for these methods, but there is no invocation that would take the others.
    OtherMethod(Vec<&'static str>),
    /// Neither is there an invocation.
    Nothing,
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

/// The route of a request, of those that there are. `HEAD` is not `GET`.
pub(crate) fn route<'a>(method: &Method, path: &'a str, access: &Access) -> Route<'a> {
    match (method.as_str(), path) {
        ("GET", "/v1.0/healthz") => Route::Healthz,
        ("GET", "/v1.0/healthz/outbound") => Route::OutboundHealthz,
        ("GET", "/v1.0/metadata") if access.metadata => Route::Metadata,
        ("POST", "/v1.0/shutdown") if access.shutdown => Route::Shutdown,
        ("PUT", path) if access.set_metadata && metadata_key(path).is_some() => {
            Route::SetMetadata(metadata_key(path).unwrap_or_default())
        }
        // By far the most requests.
        (_, path) if path.starts_with("/v1.0/invoke/") => fallback(path, access),
        (method, path) => {
            out_of_scope::find(method, path, access).map_or_else(|| fallback(path, access), Route::OutOfScope)
        }
    }
}

/// The key of `/v1.0/metadata/{key}`.
pub(crate) fn metadata_key(path: &str) -> Option<&str> {
    path.strip_prefix("/v1.0/metadata/")
        .filter(|key| !key.is_empty() && !key.contains('/'))
}

/// What is no other route is an invocation, unless there is none.
fn fallback<'a>(path: &str, access: &Access) -> Route<'a> {
    if access.invoke {
        return Route::Invocation;
    }
    let methods = match path {
        "/v1.0/healthz" | "/v1.0/healthz/outbound" => vec!["GET"],
        "/v1.0/metadata" if access.metadata => vec!["GET"],
        "/v1.0/shutdown" if access.shutdown => vec!["POST"],
        path if access.set_metadata && metadata_key(path).is_some() => vec!["PUT"],
        path => out_of_scope::methods(path, access),
    };
    if methods.is_empty() {
        Route::Nothing
    } else {
        Route::OtherMethod(methods)
    }
}

#[cfg(test)]
mod tests {
    use api_core::{ApiLists, ApiRule};

    use super::*;

    #[test]
    fn routes() {
        let access = Access::new(&ApiLists::default());
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
            assert_eq!(route(&method, &cleaned, &access), wanted, "{method} {path}");
        }
    }

    #[test]
    fn without_invocations() {
        let invoke = ApiRule {
            name: "invoke".into(),
            version: "v1".into(),
            protocol: "http".into(),
        };
        let access = Access::new(&ApiLists {
            denied: vec![invoke],
            ..ApiLists::default()
        });
        let other = Route::OtherMethod;
        for (method, path, wanted) in [
            ("GET", "/v1.0/healthz", Route::Healthz),
            ("POST", "/v1.0/healthz", other(vec!["GET"])),
            ("GET", "/v1.0/metadata/k", other(vec!["PUT"])),
            ("GET", "/v1.0/metadata/a/b", Route::Nothing),
            ("GET", "/v1.0/shutdown", other(vec!["POST"])),
            ("PATCH", "/v1.0/state/s", other(vec!["POST", "PUT"])),
            ("GET", "/v1.0/invoke/a/method/b", Route::Nothing),
            ("GET", "/", Route::Nothing),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(route(&method, path, &access), wanted, "{method} {path}");
        }
    }
}
