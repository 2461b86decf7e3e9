//! `middleware.http.rs.cors`: which pages of other sites a browser lets call
//! ([Fetch](https://fetch.spec.whatwg.org/#http-cors-protocol)).
//!
//! A preflight is answered here, since an app asks for a token that a browser does not send along with it. Answers to pages
//! of other origins stay as they are: the browser keeps them from those.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Uri;
use http::{Method, Response, StatusCode};
use invoke_core::Body;
use thiserror::Error;

use crate::handler::{After, Call, Verdict};
use crate::paths::PathFilter;
use crate::properties::{Duplicate, Properties, Unknown, list};

const FIELDS: [&str; 7] = [
    "allowedOrigins",
    "allowedMethods",
    "allowedHeaders",
    "exposedHeaders",
    "allowCredentials",
    "maxAge",
    "pathFilter",
];
/// What pages may do without asking; a component that names no methods allows these.
const METHODS: &str = "GET,HEAD,POST";
/// Whatever there is.
const ANY: &str = "*";

/// Why there are no rules.
#[derive(Debug, Error)]
pub(crate) enum CorsError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error(
        "allowedOrigins must be there: * or origins like https://shop.example.com and https://*.example.com"
    )]
    NoOrigin,
    #[error("allowedOrigins: {0:?} is no origin like https://shop.example.com or https://*.example.com")]
    Origin(String),
    #[error("allowCredentials: not with the origin *, which is every page there is")]
    Credentials,
    #[error("allowedMethods: {0:?} is no method")]
    Method(String),
    #[error("{field}: {text:?} is no name of a header")]
    Header { field: &'static str, text: String },
    #[error("maxAge: {0:?} is no number of seconds")]
    MaxAge(String),
    #[error("pathFilter: {0}")]
    PathFilter(String),
}

/// The rules of a component.
#[derive(Debug)]
pub(crate) struct Cors {
    /// None means any.
    origins: Option<Vec<Origin>>,
    methods: HeaderValue,
    headers: AllowedHeaders,
    exposed: Option<HeaderValue>,
    allows_credentials: bool,
    max_age: Option<HeaderValue>,
    filter: PathFilter,
}

/// What a page may send.
#[derive(Debug)]
enum AllowedHeaders {
    Any,
    These(Option<HeaderValue>),
}

/// An origin, or all that end like it.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Exactly(String),
    /// What stands before and behind the part that may be anything.
    Like(String, String),
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let plain = text.replacen("://*.", "://any.", 1);
        let uri: Uri = plain.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let is_origin = format!("{}://{authority}", uri.scheme_str()?) == plain;
        if !is_origin || authority.contains(['@', '*']) {
            return None;
        }
        Some(match text.split_once('*') {
            Some((before, behind)) => Self::Like(before.to_owned(), behind.to_owned()),
            None => Self::Exactly(text),
        })
    }

    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Exactly(own) => own.eq_ignore_ascii_case(origin),
            Self::Like(before, behind) => {
                let origin = origin.to_ascii_lowercase();
                let rest = origin.strip_prefix(before.as_str());
                let name = rest.and_then(|rest| rest.strip_suffix(behind.as_str()));
                let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                name.is_some_and(|name| !name.is_empty() && name.bytes().all(is_of_name))
            }
        }
    }
}

impl Cors {
    pub(crate) fn new(properties: &Properties) -> Result<Self, CorsError> {
        properties.check()?;
        properties.only(&FIELDS)?;
        let text = |name| properties.get(name).unwrap_or_default();
        let allows_credentials = go_text::is_truthy(text("allowCredentials"));
        let origins = match text("allowedOrigins").trim() {
            ANY if allows_credentials => return Err(CorsError::Credentials),
            ANY => None,
            origins => {
                let parse =
                    |text: &str| Origin::parse(text).ok_or_else(|| CorsError::Origin(text.to_owned()));
                Some(list(origins).map(parse).collect::<Result<Vec<_>, _>>()?)
            }
        };
        if origins.as_ref().is_some_and(Vec::is_empty) {
            return Err(CorsError::NoOrigin);
        }
        let headers = |field| names(field, text(field));
        Ok(Self {
            origins,
            methods: methods(text("allowedMethods"))?,
            headers: match text("allowedHeaders").trim() {
                ANY => AllowedHeaders::Any,
                _ => AllowedHeaders::These(headers("allowedHeaders")?),
            },
            exposed: headers("exposedHeaders")?,
            allows_credentials,
            max_age: seconds(text("maxAge"))?,
            filter: PathFilter::new(text("pathFilter")).map_err(CorsError::PathFilter)?,
        })
    }

    pub(crate) fn handle(&self, call: &Call) -> Verdict {
        let headers = call.request.headers();
        if !self.filter.takes(&call.request) {
            return Ok(After::Nothing);
        }
        let origin = headers.get(header::ORIGIN);
        let is_preflight = call.request.method() == Method::OPTIONS
            && origin.is_some()
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let allowed = origin.filter(|origin| self.allows(origin));
        let mut told = HeaderMap::new();
        if let Some(origin) = allowed {
            let named = if self.origins.is_none() {
                HeaderValue::from_static(ANY)
            } else {
                origin.clone()
            };
            told.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, named);
            if self.allows_credentials {
                let yes = HeaderValue::from_static("true");
                told.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
        }
        if self.origins.is_some() {
            told.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        if is_preflight {
            if allowed.is_some() {
                self.permissions(headers, &mut told);
            }
            return Err(Box::new(preflight(told)));
        }
        if let (Some(exposed), Some(_)) = (&self.exposed, allowed) {
            told.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
        Ok(if told.is_empty() {
            After::Nothing
        } else {
            After::Cors(Box::new(told))
        })
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Some(origins) = &self.origins else {
            return true;
        };
        let origin = origin.to_str();
        origin.is_ok_and(|origin| origins.iter().any(|own| own.is(origin)))
    }

    /// What else a preflight is told.
    fn permissions(&self, asked: &HeaderMap, told: &mut HeaderMap) {
        told.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        let headers = match &self.headers {
            AllowedHeaders::Any => asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS),
            AllowedHeaders::These(headers) => headers.as_ref(),
        };
        if let Some(headers) = headers {
            told.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        if let Some(max_age) = &self.max_age {
            told.insert(header::ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
    }
}

/// An answer is told to others than its app told it.
pub(crate) fn apply(told: HeaderMap, answer: &mut HeaderMap) {
    for (name, value) in &told {
        if name == header::VARY {
            answer.append(name, value.clone());
        } else {
            answer.insert(name, value.clone());
        }
    }
}

fn preflight(told: HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    *answer.headers_mut() = told;
    answer
}

fn methods(text: &str) -> Result<HeaderValue, CorsError> {
    let text = if text.trim().is_empty() { METHODS } else { text };
    let mut methods = Vec::new();
    for method in list(text) {
        Method::from_bytes(method.as_bytes()).map_err(|_| CorsError::Method(method.to_owned()))?;
        methods.push(method);
    }
    HeaderValue::try_from(methods.join(", ")).map_err(|_| CorsError::Method(text.to_owned()))
}

fn names(field: &'static str, text: &str) -> Result<Option<HeaderValue>, CorsError> {
    let error = |text: &str| CorsError::Header {
        field,
        text: text.to_owned(),
    };
    let mut names = Vec::new();
    for name in list(text) {
        HeaderName::try_from(name).map_err(|_| error(name))?;
        names.push(name);
    }
    if names.is_empty() {
        return Ok(None);
    }
    let value = HeaderValue::try_from(names.join(", ")).map_err(|_| error(text))?;
    Ok(Some(value))
}

fn seconds(text: &str) -> Result<Option<HeaderValue>, CorsError> {
    if text.is_empty() {
        return Ok(None);
    }
    let seconds: u32 = text.parse().map_err(|_| CorsError::MaxAge(text.to_owned()))?;
    Ok(Some(seconds.into()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(items: &[(&str, &str)]) -> Result<Cors, CorsError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Cors::new(&Properties::new(items.iter().map(owned)))
    }

    #[test]
    fn what_is_refused() {
        let any = ("allowedOrigins", "*");
        for (items, wanted) in [
            (&[][..], "allowedOrigins must be there"),
            (
                &[("allowedOrigins", "shop.example.com")],
                "allowedOrigins: \"shop.example.com\"",
            ),
            (
                &[("allowedOrigins", "https://a.com/")],
                "allowedOrigins: \"https://a.com/\"",
            ),
            (
                &[("allowedOrigins", "https://u@a.com")],
                "allowedOrigins: \"https://u@a.com\"",
            ),
            (
                &[("allowedOrigins", "https://*.*.com")],
                "allowedOrigins: \"https://*.*.com\"",
            ),
            (
                &[("allowedOrigins", "https://a*.com")],
                "allowedOrigins: \"https://a*.com\"",
            ),
            (
                &[any, ("allowCredentials", "true")],
                "allowCredentials: not with the origin *",
            ),
            (
                &[any, ("allowedMethods", "GET, A B")],
                "allowedMethods: \"A B\" is no method",
            ),
            (
                &[any, ("allowedHeaders", "X A")],
                "allowedHeaders: \"X A\" is no name",
            ),
            (
                &[any, ("exposedHeaders", "é")],
                "exposedHeaders: \"é\" is no name",
            ),
            (&[any, ("maxAge", "1h")], "maxAge: \"1h\" is no number of seconds"),
            (
                &[any, ("origins", "")],
                "origins is no metadata of this component",
            ),
        ] {
            let said = of(items).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{said}");
        }
    }

    #[test]
    fn origins() {
        for (own, origin, wanted) in [
            ("https://a.com", "https://a.com", true),
            ("https://A.com", "https://a.COM", true),
            ("https://a.com", "http://a.com", false),
            ("https://a.com", "https://a.com:8443", false),
            ("https://a.com", "https://a.com.evil.org", false),
            ("https://*.a.com", "https://shop.a.com", true),
            ("https://*.a.com", "https://x.shop.a.com", true),
            ("https://*.a.com", "https://a.com", false),
            ("https://*.a.com", "https://.a.com", false),
            ("https://*.a.com", "https://evil.org/.a.com", false),
            ("https://*.a.com", "https://evila.com", false),
            ("http://*.a.com:3000", "http://b.a.com:3000", true),
        ] {
            assert_eq!(Origin::parse(own).unwrap().is(origin), wanted, "{own} {origin}");
        }
    }

    fn call(method: &str, path: &str, headers: &[(&'static str, &'static str)]) -> Call {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Call {
            request: request.body(Body::empty()).unwrap(),
            peer: None,
        }
    }

    const ALLOWED: (&str, &str) = ("origin", "https://shop.example.com");
    const OTHER: (&str, &str) = ("origin", "https://evil.example.org");
    const ASKS: (&str, &str) = ("access-control-request-method", "PUT");

    fn cors() -> Cors {
        let cors = of(&[
            ("allowedOrigins", "https://*.example.com"),
            ("allowedMethods", "GET, PUT"),
            ("allowedHeaders", "Authorization"),
            ("exposedHeaders", "X-Total"),
            ("allowCredentials", "true"),
            ("maxAge", "600"),
            ("pathFilter", "^/v1.0/"),
        ]);
        cors.unwrap()
    }

    #[test]
    fn preflights_are_answered() {
        let cors = cors();
        let answer = cors
            .handle(&call("OPTIONS", "/v1.0/a", &[ALLOWED, ASKS]))
            .unwrap_err();
        assert_eq!(answer.status(), 204);
        for (name, wanted) in [
            ("access-control-allow-origin", "https://shop.example.com"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "Authorization"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "600"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.headers()[name], wanted);
        }
        let answer = cors
            .handle(&call("OPTIONS", "/v1.0/a", &[OTHER, ASKS]))
            .unwrap_err();
        assert_eq!((answer.status().as_u16(), answer.headers().len()), (204, 1));
        for passes in [
            call("OPTIONS", "/v1.0/a", &[ALLOWED]),
            call("GET", "/v1.0/a", &[ALLOWED, ASKS]),
            call("OPTIONS", "/other", &[ALLOWED, ASKS]),
        ] {
            assert!(cors.handle(&passes).is_ok(), "{passes:?}");
        }
    }

    #[test]
    fn answers_say_who_may_read_them() {
        let cors = cors();
        let applied = |headers: &[(&'static str, &'static str)]| {
            let after = cors.handle(&call("GET", "/v1.0/a", headers)).unwrap();
            let answer = Response::builder()
                .header("access-control-allow-origin", "app")
                .header("vary", "Accept");
            after.apply(answer.body(Body::empty()).unwrap())
        };
        let answer = applied(&[ALLOWED]);
        assert_eq!(
            answer.headers()["access-control-allow-origin"],
            "https://shop.example.com"
        );
        assert_eq!(answer.headers()["access-control-expose-headers"], "X-Total");
        assert_eq!(answer.headers().get_all("vary").iter().count(), 2);
        let answer = applied(&[OTHER]);
        assert_eq!(answer.headers()["access-control-allow-origin"], "app");
        let any = of(&[("allowedOrigins", "*"), ("allowedHeaders", "*")]).unwrap();
        let asked = [OTHER, ASKS, ("access-control-request-headers", "x-a,x-b")];
        let answer = any.handle(&call("OPTIONS", "/", &asked)).unwrap_err();
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert_eq!(answer.headers()["access-control-allow-headers"], "x-a,x-b");
        assert_eq!(
            answer.headers()["access-control-allow-methods"],
            "GET, HEAD, POST"
        );
        assert!(!answer.headers().contains_key("vary"));
    }
}
