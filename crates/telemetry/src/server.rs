//! The metrics port.

mod answers;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use lifecycle::Shutdown;
use thiserror::Error;
use transport::Descriptors;
use transport::listen::{BindError, Listener, Patience};
use transport::server::{Handler, HttpServerConfig, RequestBody, serve_http};

use answers::{Answers, Exposed};

use crate::metrics::Metrics;

/// So much of an answer lies with the system until the scraper reads it, in bytes.
const SEND_BUFFER: usize = 256 * 1024;

/// A metrics port that cannot be opened.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// The port is no number.
    #[error("failed to parse metrics port: {0}")]
    Port(String),
    /// The address cannot be bound.
    #[error("failed to listen on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// Why not.
        source: BindError,
    },
}

/// The metrics port, bound.
#[derive(Debug)]
pub struct MetricsServer {
    listener: Listener,
    metrics: Metrics,
}

impl MetricsServer {
    /// Binds `address:port`.
    pub async fn bind(address: &str, port: u16, metrics: Metrics) -> Result<Self, MetricsError> {
        let address = format!("{address}:{port}");
        let listener =
            Listener::tcp(&address, Patience::None)
                .await
                .map_err(|source| MetricsError::Bind {
                    address: address.clone(),
                    source,
                })?;
        listener.limit_send_buffer(SEND_BUFFER);
        tracing::info!(target: "dapr.runtime", "metrics server started on {address}/");
        Ok(Self { listener, metrics })
    }

    /// Serves until the drain is over.
    pub async fn serve(self, shutdown: Shutdown) {
        let config = HttpServerConfig {
            max_header_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            h2c: None,
            descriptors: Descriptors::default(),
        };
        let exposition = Exposition(self.metrics, Answers::default());
        serve_http(self.listener, config, exposition, shutdown).await;
    }
}

/// Every path and every method answers the same.
#[derive(Clone)]
struct Exposition(Metrics, Answers);

impl Handler for Exposition {
    type Body = Exposed;

    async fn call(&self, request: Request<RequestBody>) -> Response<Exposed> {
        let wants_gzip = request
            .headers()
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|codings| codings.split(',').any(|coding| coding.trim().starts_with("gzip")));
        let escaping = escaping(request.headers());
        let metrics = self.0.clone();
        let text = tokio::task::spawn_blocking(move || {
            let text = metrics.expose();
            if wants_gzip {
                gzip(text.as_bytes())
            } else {
                text.into_bytes()
            }
        });
        let Ok(text) = text.await else {
            let mut response = Response::new(self.1.begin(Bytes::new()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        let mut response = Response::new(self.1.begin(Bytes::from(text)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(escaping));
        if wants_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The kind of the text. How names are escaped is what the scraper wants; the names of our families need none of it.
fn escaping(headers: &HeaderMap) -> &'static str {
    const KINDS: [&str; 4] = [
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
        "text/plain; version=0.0.4; charset=utf-8; escaping=dots",
        "text/plain; version=0.0.4; charset=utf-8; escaping=values",
    ];
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let texts = accept.unwrap_or_default().split(',').map(str::trim);
    let text = texts
        .filter(|kind| kind.starts_with("text/plain"))
        .find_map(|kind| {
            let wanted = kind
                .split(';')
                .find_map(|part| part.trim().strip_prefix("escaping="))?;
            KINDS
                .into_iter()
                .find(|known| known.ends_with(&format!("={wanted}")))
        });
    text.unwrap_or(KINDS[0])
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scraper_wants_of_names() {
        for (accept, wanted) in [
            ("", "underscores"),
            ("*/*", "underscores"),
            (
                "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.1",
                "allow-utf-8",
            ),
            (
                "application/openmetrics-text;escaping=values,text/plain; escaping=dots",
                "dots",
            ),
            ("text/plain;escaping=x", "underscores"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            let kind = escaping(&headers);
            assert_eq!(
                kind,
                format!("text/plain; version=0.0.4; charset=utf-8; escaping={wanted}")
            );
        }
    }
}
