//! Collectors that are spoken to with HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use invoke_core::retry_after;
use tokio::time::timeout;
use transport::client::{H1Config, H1Pool};
use transport::tls::{OriginTls, Trust};

use super::export::{Exporters, Refused};
use super::grpc::{headers, whole, with_port};
use super::otlp::packed;
use crate::otlp::Collector;

const LONGEST_ANSWER: usize = 64 * 1024;
/// How long an export to a collector of Zipkin may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One address that spans are posted to.
pub(crate) struct HttpPost {
    pool: H1Pool<Full<Bytes>>,
    target: PathAndQuery,
    host: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    is_packed: bool,
}

impl HttpPost {
    /// No connection; the first export makes one. `roots` vouch for the collector, or else those that the system trusts.
    pub(super) fn new(url: &Uri, roots: Option<&[u8]>, exporters: &Exporters) -> Result<Self, String> {
        let authority = url.authority().ok_or("the address has no host")?.as_str();
        let is_secure = url.scheme_str() == Some("https");
        let tls = if is_secure {
            let trust = roots.map_or(Trust::System, Trust::Only);
            Some(OriginTls::http1(trust, None).map_err(|error| error.to_string())?)
        } else {
            None
        };
        let proxy = exporters.proxies().before(is_secure, authority);
        let config = H1Config {
            max_connections: 1,
            tls,
            proxy: proxy.map_err(|error| error.to_string())?,
            ..H1Config::default()
        };
        let address = with_port(authority, if is_secure { 443 } else { 80 });
        Ok(Self {
            pool: H1Pool::new(address, config, exporters.connections().clone()),
            target: url
                .path_and_query()
                .cloned()
                .unwrap_or(PathAndQuery::from_static("/")),
            host: HeaderValue::from_str(authority).map_err(|error| error.to_string())?,
            headers: Vec::new(),
            timeout: TIMEOUT,
            is_packed: false,
        })
    }

    /// The same for a collector of OpenTelemetry.
    pub(crate) fn to_collector(
        collector: &Collector,
        path: &str,
        exporters: &Exporters,
    ) -> Result<Self, String> {
        let scheme = if collector.is_secure { "https" } else { "http" };
        let usual = with_port(&collector.authority, 4318);
        let url = format!("{scheme}://{usual}{path}");
        let url = url
            .parse()
            .map_err(|error| format!("{url:?} is no address: {error}"))?;
        Ok(Self {
            headers: headers(&collector.headers)?,
            timeout: collector.timeout,
            is_packed: collector.is_packed,
            ..Self::new(&url, collector.roots.as_deref(), exporters)?
        })
    }

    /// Gives a message to a collector of OpenTelemetry.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), Refused> {
        let mut given = HeaderMap::new();
        given.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let message = if self.is_packed {
            given.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            packed(&message).map_err(|error| Refused::for_good(error.to_string()))?
        } else {
            message
        };
        let (status, after, answer) = self.post(given, message).await?;
        if status.is_success() {
            return whole(&answer);
        }
        let why = format!("the collector answered with {status}");
        Err(match status.as_u16() {
            429 | 502 | 503 | 504 => Refused {
                why,
                again: Some(after.unwrap_or_default()),
            },
            _ => Refused::for_good(why),
        })
    }

    /// Gives a list to a collector of Zipkin.
    pub(super) async fn to_zipkin(&self, list: Bytes) -> Result<(), Refused> {
        let mut given = HeaderMap::new();
        given.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.post(given, list).await? {
            (StatusCode::ACCEPTED, ..) => Ok(()),
            (status, ..) => Err(Refused::for_good(format!(
                "failed to send spans to zipkin server with status {}",
                status.as_u16()
            ))),
        }
    }

    /// The status of the answer, how long the collector wants to be left alone, and the beginning of its body.
    async fn post(
        &self,
        mut given: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Option<Duration>, Bytes), Refused> {
        given.insert(header::HOST, self.host.clone());
        for (name, value) in &self.headers {
            given.insert(name.clone(), value.clone());
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.headers_mut() = given;
        let exchange = async {
            let answer = self.pool.send(request).await;
            let answer = answer.map_err(|error| Refused::for_now(error.to_string()))?;
            let (status, after) = (answer.status(), retry_after(answer.headers()));
            let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Refused::for_good("the answer of the collector is too long")
                } else {
                    Refused::for_now(error.to_string())
                }
            })?;
            Ok((status, after, body.to_bytes()))
        };
        match timeout(self.timeout, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(Refused::for_now("the collector does not answer in time")),
        }
    }
}
