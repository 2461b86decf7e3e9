//! One HTTP server that a resolver asks: an agent of Consul, the API of a cluster.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use thiserror::Error;
use tokio::time::timeout;
use transport::client::{H1Config, H1Pool, PooledBody};
use transport::tls::OriginTls;

use crate::registry::Means;

/// How long an answer may be, in bytes: ten thousand instances, each with a kilobyte or two about it.
const LONGEST: usize = 16 << 20;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a server is and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `host` or `host:port`.
    pub(crate) authority: String,
    /// What stands before each path: nothing, or `/` and something.
    pub(crate) prefix: String,
    pub(crate) tls: Option<OriginTls>,
    /// A Unix domain socket in place of the address.
    pub(crate) unix: Option<PathBuf>,
}

/// The server, and the connections to it.
#[derive(Debug)]
pub(crate) struct Origin {
    pool: H1Pool<Full<Bytes>>,
    host: HeaderValue,
    prefix: String,
    /// How errors show the beginning of a URL.
    shown: String,
}

/// Why there is no answer, as Go says it: `Get "http://127.0.0.1:8500/v1/agent/self": dial tcp 127.0.0.1:8500: …`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{verb} {url:?}: {why}")]
pub(crate) struct AskError {
    verb: String,
    url: String,
    why: String,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Origin {
    /// Makes no connection; the first request does.
    pub(crate) fn new(place: Place, means: &Means) -> Result<Self, String> {
        let Place {
            authority,
            prefix,
            tls,
            unix,
        } = place;
        let is_secure = tls.is_some();
        let scheme = if is_secure { "https" } else { "http" };
        let shown = format!("{scheme}://{authority}");
        let uri: Uri = shown
            .parse()
            .map_err(|error| format!("parse {shown:?}: {error}"))?;
        let known = uri
            .authority()
            .ok_or_else(|| format!("parse {shown:?}: no host"))?;
        let port = known.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let proxy = match &unix {
            Some(_) => None,
            None => means
                .proxies
                .before(is_secure, &authority)
                .map_err(|error| error.to_string())?,
        };
        let config = H1Config {
            max_idle: 4,
            connect_timeout: CONNECT,
            unix,
            tls,
            proxy,
            ..H1Config::default()
        };
        Ok(Self {
            pool: H1Pool::new(format!("{}:{port}", known.host()), config, means.tasks.clone()),
            host: HeaderValue::from_str(&authority).map_err(|error| error.to_string())?,
            prefix,
            shown,
        })
    }

    /// Sends a request and takes the whole answer, all of it within `limit`. Redirects are not followed.
    pub(crate) async fn ask(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, AskError> {
        let failed = |why: String| self.failed(&method, target, why);
        let exchange = async {
            let answer = self.send(&method, target, headers, body).await?;
            let (parts, body) = answer.into_parts();
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: whole(body).await?,
            })
        };
        within(limit, exchange).await.map_err(failed)
    }

    /// Sends a request for something that goes on, and waits for the head of the answer for `limit` at most.
    #[cfg(feature = "kubernetes")]
    pub(crate) async fn open(
        &self,
        target: &str,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Response<Stream>, AskError> {
        let sent = self.send(&Method::GET, target, headers, Bytes::new());
        within(limit, sent)
            .await
            .map_err(|why| self.failed(&Method::GET, target, why))
    }

    fn failed(&self, method: &Method, target: &str, why: String) -> AskError {
        AskError {
            verb: titled(method),
            url: format!("{}{}{target}", self.shown, self.prefix),
            why,
        }
    }

    async fn send(
        &self,
        method: &Method,
        target: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Stream>, String> {
        let target: Uri = format!("{}{target}", self.prefix)
            .parse()
            .map_err(|error| format!("{error}"))?;
        headers.insert(header::HOST, self.host.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        self.pool.send(request).await.map_err(|error| error.to_string())
    }
}

/// The body of an answer.
type Stream = PooledBody<Full<Bytes>>;

async fn whole(body: Stream) -> Result<Bytes, String> {
    let collected = Limited::new(body, LONGEST).collect().await;
    let whole = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            format!("the answer is longer than {LONGEST} bytes")
        } else {
            error.to_string()
        }
    })?;
    Ok(whole.to_bytes())
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned())
        }
    }
}

/// `Get`, `Put`: how Go's HTTP client names a method in its errors.
fn titled(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_lowercase())
}
