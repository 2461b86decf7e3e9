//! `middleware.http.oauth2`: a browser logs in somewhere else, and its requests get its token in a header (RFC 6749,
//! section 4.1).

use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use invoke_core::Body;
use thiserror::Error;

use super::endpoint::{AuthStyle, Endpoint, Form, set};
use super::scope;
use super::sessions::{self, Login, NoLogin};
use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::paths::PathFilter;
use crate::properties::{Duplicate, Properties};
use crate::request;
use crate::web::Web;

/// Why the component cannot be used.
#[derive(Debug, Error)]
pub(crate) enum OAuth2Error {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error("{0}")]
    PathFilter(String),
    #[error("authHeaderName {0:?} is no name of a header")]
    Header(String),
}

#[derive(Debug)]
pub(crate) struct OAuth2 {
    /// Has the sessions.
    web: Web,
    endpoint: Endpoint,
    auth_url: String,
    redirect_url: String,
    scope: Option<String>,
    /// None if the app is not to see the token.
    header: Option<HeaderName>,
    forces_https: bool,
    filter: PathFilter,
    /// What it is called in sessions.
    identity: String,
}

/// A request that is not answered by the app.
type Answer = Box<Response<Body>>;

/// Who asks: the id of its session, and the host that it called.
struct Browser {
    id: Option<String>,
    host: String,
}

impl OAuth2 {
    pub(crate) fn new(properties: &Properties, web: &Web) -> Result<Self, OAuth2Error> {
        properties.check()?;
        let text = |name| properties.get(name).unwrap_or_default();
        let header = match text("authHeaderName") {
            "" => None,
            name => Some(HeaderName::try_from(name).map_err(|_| OAuth2Error::Header(name.to_owned()))?),
        };
        let endpoint = Endpoint::new(
            web,
            text("tokenURL"),
            text("clientID"),
            text("clientSecret"),
            AuthStyle::Unknown,
        );
        Ok(Self {
            web: web.clone(),
            identity: format!("{} {}", endpoint.identity(), text("scopes")),
            endpoint,
            auth_url: text("authURL").to_owned(),
            redirect_url: text("redirectURL").to_owned(),
            scope: Some(text("scopes"))
                .filter(|scopes| !scopes.is_empty())
                .map(scope),
            header,
            forces_https: go_text::is_truthy(text("forceHTTPS")),
            filter: PathFilter::new(text("pathFilter")).map_err(OAuth2Error::PathFilter)?,
        })
    }

    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        if !self.filter.takes(&call.request) {
            return Ok(After::Nothing);
        }
        let sessions = self.web.sessions();
        let id = sessions::shown(call.request.headers());
        let token = id.and_then(|id| sessions.token(id, &self.identity));
        let query = request::pairs(request::query(&call.request).unwrap_or_default());
        let parameter = |name: &str| {
            let named = query.iter().find(|(known, _)| known == name.as_bytes());
            named.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let state = parameter("state").filter(|state| !state.is_empty());
        let login = |state: &str| {
            let id = id.ok_or(NoLogin::Nothing)?;
            sessions.take(id, &self.identity, state)
        };
        let browser = Browser {
            id: id.map(str::to_owned),
            host: host(&call.request).unwrap_or_default().to_owned(),
        };
        if let Some(value) = token {
            // Of logins that were pending together another one was finished first.
            let target = state.as_deref().and_then(|state| login(state).ok());
            if let (Some(target), Some(id)) = (target, &browser.id) {
                return Err(self.go_on(&browser, target, id).unwrap_or_else(|answer| answer));
            }
            if let Some(header) = &self.header {
                call.request.headers_mut().append(header.clone(), value);
            }
            return Ok(After::Nothing);
        }
        let answer = match state {
            None => self.send_away(&browser, &request::path_and_query(&call.request)),
            Some(state) => {
                let code = parameter("code").unwrap_or_default();
                Box::pin(self.take_back(&browser, login(&state), &code)).await
            }
        };
        Err(answer.unwrap_or_else(|answer| answer))
    }

    /// The browser is to log in.
    fn send_away(&self, browser: &Browser, target: &[u8]) -> Result<Answer, Answer> {
        let state = sessions::state().ok_or_else(failed)?;
        let mut target = String::from_utf8_lossy(target).into_owned();
        if target.starts_with("//") {
            // As a place to go to it would be another host.
            target.insert_str(0, "/.");
        }
        let login = Login::new(state.clone(), target)
            .ok_or_else(|| Box::new(refused(StatusCode::URI_TOO_LONG, "URI Too Long")))?;
        let sessions = self.web.sessions();
        let id = sessions
            .begin(browser.id.as_deref(), &self.identity, login)
            .ok_or_else(failed)?;
        let mut form = Form::new();
        set(&mut form, "response_type", "code");
        set(&mut form, "client_id", self.endpoint.client_id());
        if !self.redirect_url.is_empty() {
            set(&mut form, "redirect_uri", &self.redirect_url);
        }
        if let Some(scope) = &self.scope {
            set(&mut form, "scope", scope);
        }
        set(&mut form, "state", &state);
        set(&mut form, "access_type", "offline");
        let joint = if self.auth_url.contains('?') { '&' } else { '?' };
        let location = format!("{}{joint}{}", self.auth_url, request::query_of(form));
        self.redirect(browser, &location, &id)
    }

    /// The browser comes back from a login with a code.
    async fn take_back(
        &self,
        browser: &Browser,
        login: Result<String, NoLogin>,
        code: &str,
    ) -> Result<Answer, Answer> {
        let bad = |text: &'static str| {
            tracing::warn!(target: "dapr.contrib", "A login is refused: {text}");
            Box::new(refused(StatusCode::BAD_REQUEST, text))
        };
        let target = login.map_err(|why| match why {
            NoLogin::Nothing => {
                tracing::error!(
                    target: "dapr.contrib",
                    "Value saved in state key 'redirect-url' is not a *url.URL"
                );
                failed()
            }
            NoLogin::OtherState => bad("invalid state"),
        })?;
        if code.is_empty() {
            return Err(bad("code not found"));
        }
        let mut form = Form::new();
        set(&mut form, "grant_type", "authorization_code");
        set(&mut form, "code", code);
        if !self.redirect_url.is_empty() {
            set(&mut form, "redirect_uri", &self.redirect_url);
        }
        let token = match self.endpoint.exchange(&form).await {
            Ok(token) => token,
            Err(error) => {
                tracing::error!(target: "dapr.contrib", "Failed to exchange token: {error}");
                return Err(failed());
            }
        };
        let sessions = self.web.sessions();
        let id = sessions
            .finish(browser.id.as_deref(), &self.identity, token.value, token.life)
            .ok_or_else(failed)?;
        self.go_on(browser, target, &id)
    }

    /// The browser goes to where it wanted to go.
    fn go_on(&self, browser: &Browser, target: String, id: &str) -> Result<Answer, Answer> {
        let location = match browser.host.as_str() {
            host if self.forces_https && !host.is_empty() => format!("https://{host}{target}"),
            _ => target,
        };
        self.redirect(browser, &location, id)
    }

    fn redirect(&self, browser: &Browser, location: &str, id: &str) -> Result<Answer, Answer> {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::FOUND;
        let domain = common_domain(&browser.host, host_of(&self.redirect_url));
        let cookie = sessions::cookie(id, domain, self.forces_https).ok_or_else(failed)?;
        let location = HeaderValue::try_from(location).map_err(|_| failed())?;
        answer.headers_mut().insert(header::LOCATION, location);
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(Box::new(answer))
    }
}

fn failed() -> Answer {
    Box::new(refused(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Internal Server Error",
    ))
}

/// The host that a browser called, as it wrote it.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let header = request.headers().get(header::HOST);
    let header = header.and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(http::uri::Authority::as_str))
}

/// The host of a URL, without a port.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The domain to which both hosts belong, if they are not the same: the cookie of one must then reach the other.
fn common_domain<'a>(host: &'a str, other: &str) -> Option<&'a str> {
    let name = |host: &str| host.rsplit_once(':').map_or(host.len(), |(name, _)| name.len());
    let (host, other) = (&host[..name(host)], &other[..name(other)]);
    if other.is_empty() || host.eq_ignore_ascii_case(other) || host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let starts = host.match_indices('.').map(|(dot, _)| dot + 1);
    // The longest, and no top-level domain.
    std::iter::once(0)
        .chain(starts)
        .map(|start| &host[start..])
        .find(|domain| {
            let (longer, shorter) = (other.len(), domain.len());
            domain.contains('.')
                && longer >= shorter
                && other.is_char_boundary(longer - shorter)
                && other[longer - shorter..].eq_ignore_ascii_case(domain)
                && (longer == shorter || other.as_bytes()[longer - shorter - 1] == b'.')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_cookie_must_go() {
        for (host, redirect, wanted) in [
            ("a.example.com", "https://a.example.com/cb", None),
            ("a.example.com:3500", "http://A.example.com:80/cb", None),
            (
                "a.example.com",
                "https://login.example.com/cb",
                Some("example.com"),
            ),
            ("a.example.com", "https://example.com?x", Some("example.com")),
            ("example.com", "https://a.b.example.com/", Some("example.com")),
            ("a.example.com", "https://b.example.org/", None),
            ("a.com", "https://b.com/", None),
            ("notexample.com", "https://example.com/", None),
            ("127.0.0.1:3500", "http://10.0.0.1/cb", None),
            ("localhost", "http://localhost:8080/cb", None),
            ("", "https://example.com/", None),
            ("a.example.com", "", None),
        ] {
            assert_eq!(
                common_domain(host, host_of(redirect)),
                wanted,
                "{host} {redirect}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used() {
        let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
        for (name, value, wanted) in [
            ("pathFilter", "[", "error parsing regexp"),
            (
                "authHeaderName",
                "a b",
                "authHeaderName \"a b\" is no name of a header",
            ),
        ] {
            let properties = Properties::new([(name.to_owned(), value.to_owned())]);
            let said = OAuth2::new(&properties, &web).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{said}");
        }
    }
}
