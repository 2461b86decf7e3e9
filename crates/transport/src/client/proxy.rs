//! Proxies between this process and the web, by the variables that Go's HTTP client reads.
//!
//! `HTTP_PROXY` is for `http` addresses, `HTTPS_PROXY` for `https` ones, `NO_PROXY` says which need none; the rules are
//! those of `golang.org/x/net/http/httpproxy`. A name in lower case counts when the other one is empty. The loopback
//! interface is never reached by a proxy.

mod bypass;
mod tunnel;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use self::bypass::Bypass;
use crate::tls::OriginTls;

pub(super) use tunnel::pass;

/// An address that is not called, because its proxy may or can not be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProxyError {
    /// Whoever calls a CGI script chooses the variables that begin with `HTTP_`.
    #[error("refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy")]
    Cgi,
    /// A proxy of another protocol.
    #[error("the proxy of {variable} has the scheme {scheme:?}; http, https, socks5 and socks5h are known")]
    Scheme {
        /// The variable.
        variable: &'static str,
        /// What stands in front of its `://`.
        scheme: String,
    },
}

/// Which proxy stands before which address. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    http: Option<Result<Proxy, ProxyError>>,
    https: Option<Result<Proxy, ProxyError>>,
    bypass: Bypass,
}

impl Proxies {
    /// Reads the variables of the environment by `variable`. The second value is what is wrong with them, for the log; a
    /// value that is no address is not used, as in Go.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let any = |name: &str| {
            let given = |name: &str| variable(name).filter(|value| !value.is_empty());
            given(name).or_else(|| given(&name.to_lowercase()))
        };
        let mut findings = Vec::new();
        let mut proxy = |name: &'static str| match Proxy::parse(name, any(name)?.trim()) {
            Some(Ok(proxy)) => Some(Ok(proxy)),
            Some(Err(error)) => {
                findings.push(format!("{error}; calls that need it fail"));
                Some(Err(error))
            }
            None => {
                findings.push(format!("{name} is no address of a proxy, so it is not used"));
                None
            }
        };
        let mut rules = Rules {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            bypass: Bypass::parse(&any("NO_PROXY").unwrap_or_default()),
        };
        if rules.http.is_some() && any("REQUEST_METHOD").is_some() {
            rules.http = Some(Err(ProxyError::Cgi));
        }
        (Self(Arc::new(rules)), findings)
    }

    /// The proxy before `authority` (`host` or `host:port`), if there is one.
    pub fn before(&self, is_https: bool, authority: &str) -> Result<Option<Proxy>, ProxyError> {
        let proxy = if is_https { &self.0.https } else { &self.0.http };
        match proxy {
            None => Ok(None),
            // Go refuses before it looks at anything else.
            Some(Err(ProxyError::Cgi)) => Err(ProxyError::Cgi),
            Some(_) if self.0.bypass.is_for(is_https, authority) => Ok(None),
            Some(proxy) => proxy.clone().map(Some),
        }
    }

    /// What the log says at the start: which proxies are used, without their passwords.
    pub fn shown(&self) -> Vec<String> {
        let of = |scheme: &str, proxy: &Option<Result<Proxy, ProxyError>>| match proxy {
            Some(Ok(proxy)) => Some(format!(
                "{scheme} addresses outside of the mesh are called through {proxy}"
            )),
            _ => None,
        };
        of("http", &self.0.http)
            .into_iter()
            .chain(of("https", &self.0.https))
            .collect()
    }
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// HTTP in clear text.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS of version 5 (RFC 1928). Names are looked up by the proxy.
    Socks,
}

/// A proxy. Its texts never show the password. Cloning shares it.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    kind: Kind,
    scheme: String,
    /// `host:port`.
    address: String,
    credentials: Option<(String, String)>,
    authorization: Option<HeaderValue>,
    tls: Option<OriginTls>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme, self.0.address)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// Reads `scheme://user:password@host:port`, of which only the host is needed. Nothing for what is no address.
    fn parse(variable: &'static str, text: &str) -> Option<Result<Self, ProxyError>> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() => (scheme.to_lowercase(), rest),
            _ => ("http".to_owned(), text),
        };
        let (kind, port) = match scheme.as_str() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" => (Kind::Socks, 1080),
            // What stands there may be a user and a password, which no text shows.
            other
                if !other
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) =>
            {
                return None;
            }
            _ => return Some(Err(ProxyError::Scheme { variable, scheme })),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        // Judges the host and the port.
        let parsed: http::uri::Authority = host.parse().ok()?;
        let port = match parsed.as_str().strip_prefix(parsed.host())?.strip_prefix(':') {
            None | Some("") => port,
            Some(given) => given.parse().ok()?,
        };
        if parsed.host().is_empty() {
            return None;
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (decoded(name), decoded(password))
        });
        let authorization = credentials.as_ref().and_then(|(name, password)| {
            let value = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Some(Ok(Self(Arc::new(Inner {
            kind,
            scheme,
            address: format!("{}:{port}", parsed.host()),
            credentials,
            authorization,
            tls: None,
        }))))
    }

    /// Whether the proxy itself is spoken to over TLS, and needs [`Self::secured`].
    pub fn is_secure(&self) -> bool {
        self.0.kind == Kind::Https
    }

    /// The same proxy, spoken to with this.
    #[must_use]
    pub fn secured(&self, tls: OriginTls) -> Self {
        let Inner {
            kind,
            scheme,
            address,
            credentials,
            authorization,
            ..
        } = &*self.0;
        Self(Arc::new(Inner {
            kind: *kind,
            scheme: scheme.clone(),
            address: address.clone(),
            credentials: credentials.clone(),
            authorization: authorization.clone(),
            tls: Some(tls),
        }))
    }

    /// Whether a request for an address in clear text is made to the proxy itself, with the whole address (RFC 9112,
    /// section 3.2.2).
    pub(super) fn takes_requests(&self) -> bool {
        self.0.kind != Kind::Socks
    }

    /// Who we are, for the proxy.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.authorization.as_ref()
    }
}

#[cfg(test)]
mod tests;
