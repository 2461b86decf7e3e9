//! Servers outside of the mesh that middleware asks: issuers of tokens and of keys.
#![cfg_attr(
    not(all(feature = "bearer", feature = "oauth2")),
    allow(dead_code, reason = "those who ask are features")
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, StatusCode};
use invoke_core::Body;
use lifecycle::Tasks;
use thiserror::Error;
use tokio::time::timeout;
use transport::client::{H1Config, H1Pool, Proxies};
use transport::tls::{OriginTls, Trust};

#[cfg(feature = "oauth2")]
use crate::oauth::Sessions;
use crate::whole::whole;

/// How long an answer may take as a whole.
const LIMIT: Duration = Duration::from_secs(30);
/// How long it may be, in bytes.
const LONGEST: usize = 1 << 20;
/// As many redirects are followed.
const REDIRECTS: usize = 10;

/// The way to such servers. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Web(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    proxies: Proxies,
    /// Who owns connections and what goes on in the background.
    tasks: Tasks,
    /// Reading the authorities of the system takes a while, so it is done once, when they are needed.
    tls: Mutex<Option<OriginTls>>,
    /// A sidecar has one way to such servers for its life, so that sessions outlive the components that began them.
    #[cfg(feature = "oauth2")]
    sessions: Sessions,
}

/// Why there is no answer, as Go says it.
#[derive(Debug, Error)]
#[error("{verb} {url:?}: {why}")]
pub(crate) struct WebError {
    verb: &'static str,
    url: String,
    why: String,
}

/// An answer as a whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Web {
    /// `tasks` owns what is begun here.
    pub fn new(proxies: Proxies, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            proxies,
            tasks,
            tls: Mutex::default(),
            #[cfg(feature = "oauth2")]
            sessions: Sessions::default(),
        }))
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Who has logged in, or is about to.
    #[cfg(feature = "oauth2")]
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Gets what is at a URL; redirects are followed.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer, WebError> {
        self.get_within(url, LONGEST).await
    }

    /// The same of an answer that may be so long, in bytes.
    pub(crate) async fn get_within(&self, url: &str, longest: usize) -> Result<Answer, WebError> {
        let failed = |why: String| WebError {
            verb: "Get",
            url: url.to_owned(),
            why,
        };
        let follow = async {
            let mut at = parse(url)?;
            for _ in 0..=REDIRECTS {
                let answer = self
                    .send(&at, Method::GET, HeaderMap::new(), Bytes::new(), longest)
                    .await?;
                let location = answer.headers.get(header::LOCATION);
                let location = location.filter(|_| is_redirect(answer.status));
                match location.and_then(|location| location.to_str().ok()) {
                    None => return Ok(answer),
                    Some(location) => at = joined(&at, location)?,
                }
            }
            Err(format!("stopped after {REDIRECTS} redirects"))
        };
        match timeout(LIMIT, follow).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    /// Sends a form to a URL. Redirects are not followed: there are secrets in what is sent.
    pub(crate) async fn post(&self, url: &str, headers: HeaderMap, form: String) -> Result<Answer, WebError> {
        let failed = |why: String| WebError {
            verb: "Post",
            url: url.to_owned(),
            why,
        };
        let send = async {
            let at = parse(url)?;
            self.send(&at, Method::POST, headers, form.into(), LONGEST).await
        };
        match timeout(LIMIT, send).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    async fn send(
        &self,
        at: &Uri,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        longest: usize,
    ) -> Result<Answer, String> {
        let authority = at.authority().ok_or("no Host in request URL")?;
        let is_https = at.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let address = format!("{}:{port}", authority.host());
        let proxy = self.0.proxies.before(is_https, authority.as_str());
        let proxy = match proxy.map_err(|error| error.to_string())? {
            Some(proxy) if proxy.is_secure() => Some(proxy.secured(self.tls()?)),
            proxy => proxy,
        };
        let config = H1Config {
            tls: if is_https { Some(self.tls()?) } else { None },
            proxy,
            ..H1Config::default()
        };
        let pool = H1Pool::new(address, config, self.0.tasks.clone());
        let mut request = Request::new(Body::full(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
        request.headers_mut().insert(header::HOST, host);
        let target = at.path_and_query().cloned();
        *request.uri_mut() = Uri::from(target.unwrap_or(PathAndQuery::from_static("/")));
        let answer = pool.send(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: whole(Body::stream(body), longest)
                .await
                .map_err(|error| error.to_string())?,
        })
    }

    fn tls(&self) -> Result<OriginTls, String> {
        let mut tls = self.0.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = &*tls {
            return Ok(tls.clone());
        }
        let made = OriginTls::http1(Trust::System, None).map_err(|error| error.to_string())?;
        Ok(tls.insert(made).clone())
    }
}

fn parse(url: &str) -> Result<Uri, String> {
    let at: Uri = url.parse().map_err(|error| format!("{error}"))?;
    match at.scheme_str() {
        Some("http" | "https") => Ok(at),
        scheme => Err(format!(
            "unsupported protocol scheme {:?}",
            scheme.unwrap_or_default()
        )),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads. A connection that is secured is not followed by one that is not.
fn joined(at: &Uri, location: &str) -> Result<Uri, String> {
    let (scheme, authority) = (at.scheme_str().unwrap_or_default(), at.authority());
    let authority = authority.map_or("", |authority| authority.as_str());
    let next = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let next = parse(&next)?;
    if scheme == "https" && next.scheme_str() == Some("http") {
        return Err(format!("a redirect from https leads to {next}"));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an issuer sends is read as a whole, so it has an end.
    #[tokio::test]
    async fn answers_are_bounded() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        for (length, is_read) in [(LONGEST, true), (LONGEST + 1, false)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/keys", listener.local_addr().unwrap());
            let serving = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 4096]).await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.write_all(&vec![b'x'; length]).await;
            });
            let answer = Web::new(Proxies::default(), Tasks::new()).get(&url).await;
            assert_eq!(
                answer.is_ok(),
                is_read,
                "{length}: {:?}",
                answer.map(|answer| answer.body.len())
            );
            serving.await.unwrap();
        }
    }

    #[test]
    fn where_redirects_lead() {
        let at = |url: &str| url.parse::<Uri>().unwrap();
        for (from, location, wanted) in [
            ("http://a/b/c?d", "e", "http://a/b/e"),
            ("http://a/b/c", "/e?f", "http://a/e?f"),
            ("http://a:1/b", "//c/d", "http://c/d"),
            ("http://a/b", "https://c/d", "https://c/d"),
        ] {
            assert_eq!(joined(&at(from), location).unwrap(), wanted, "{from} {location}");
        }
        for location in ["http://a/b", "ftp://a/b", "file:///etc/passwd", "https://"] {
            assert!(joined(&at("https://a/"), location).is_err(), "{location}");
        }
    }
}
