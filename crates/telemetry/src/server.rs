//! The metrics port.

mod answers;
mod negotiation;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use lifecycle::Shutdown;
use thiserror::Error;
use transport::Descriptors;
use transport::listen::{BindError, Listener, Patience};
use transport::server::{Handler, HttpServerConfig, RequestBody, serve_http};

use answers::{Answers, Exposed};
pub(crate) use negotiation::negotiated;

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
        let wants_gzip = negotiation::wants_gzip(request.headers());
        let (format, kind) = negotiated(request.headers(), self.0.offers_openmetrics());
        let metrics = self.0.clone();
        let text = tokio::task::spawn_blocking(move || {
            let text = metrics.expose_as(format);
            if wants_gzip { gzip(&text) } else { text }
        });
        let Ok(text) = text.await else {
            let mut response = Response::new(self.1.begin(Bytes::new()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        let mut response = Response::new(self.1.begin(Bytes::from(text)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        if wants_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default()
}
