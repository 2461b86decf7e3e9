//! A collector that is spoken to with gRPC.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dapr_proto::otlp::ExportTraceServiceResponse;
use grpc_wire::Unary;
use http::Uri;
use http::header::{HeaderName, HeaderValue};
use invoke_core::error::code;
use prost::Message;
use transport::client::{H2Pool, H2PoolConfig, PeerKey};
use transport::tls::{ClientTls, OriginTls, Trust};

use super::export::{Exporters, Refused};
use super::otlp::packed;
use crate::otlp::Collector;

/// Where a collector takes spans.
pub(super) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LONGEST_ANSWER: usize = 64 * 1024;

/// The connection to a collector.
pub(crate) struct OtlpGrpc {
    pool: H2Pool,
    peer: PeerKey,
    uri: Uri,
    metadata: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    is_packed: bool,
}

impl OtlpGrpc {
    /// No connection; the first export makes one, to this method.
    pub(crate) fn new(
        collector: &Collector,
        export: &'static str,
        exporters: &Exporters,
    ) -> Result<Self, String> {
        let tls = if collector.is_secure {
            let trust = collector.roots.as_deref().map_or(Trust::System, Trust::Only);
            Some(OriginTls::http2(trust).map_err(|error| error.to_string())?)
        } else {
            None
        };
        let address = with_port(&collector.authority, 4317);
        let uri = Uri::builder()
            .scheme(if collector.is_secure { "https" } else { "http" })
            .authority(address.as_str())
            .path_and_query(export)
            .build()
            .map_err(|error| format!("{:?} is no address: {error}", collector.authority))?;
        let config = H2PoolConfig {
            max_spread: 1,
            max_peers: 1,
            keep_alive: None,
            tls: tls.map(|tls| {
                let config = Arc::clone(tls.config());
                ClientTls::new(move |_| Arc::clone(&config))
            }),
            ..H2PoolConfig::default()
        };
        Ok(Self {
            peer: PeerKey {
                identity: collector.is_secure.then(|| address.as_str().into()),
                ..PeerKey::new(address)
            },
            pool: H2Pool::new(config, exporters.connections().clone()),
            uri,
            metadata: headers(&collector.headers)?,
            timeout: collector.timeout,
            is_packed: collector.is_packed,
        })
    }

    pub(crate) async fn send(&self, message: Bytes) -> Result<(), Refused> {
        let message = if self.is_packed {
            packed(&message).map_err(|error| Refused::for_good(error.to_string()))?
        } else {
            message
        };
        let call = Unary {
            uri: self.uri.clone(),
            message,
            timeout: self.timeout,
            max_answer: LONGEST_ANSWER,
        };
        let encoding = self.is_packed.then_some("gzip");
        let answer = call
            .call_packed(encoding, &self.pool, &self.peer, &self.metadata)
            .await;
        match answer {
            Ok(answer) => whole(&answer),
            Err(status) => {
                let why = format!("rpc error: code = {} desc = {}", status.code, status.message);
                Err(if is_retried(status.code) {
                    Refused::for_now(why)
                } else {
                    Refused::for_good(why)
                })
            }
        }
    }
}

/// Whether all was taken: the answer has the same form for spans and for metrics. What a collector refused of it is refused for good.
pub(super) fn whole(answer: &[u8]) -> Result<(), Refused> {
    let answer = ExportTraceServiceResponse::decode(answer)
        .map_err(|_| Refused::for_good("the answer of the collector cannot be read"))?;
    match answer.partial_success {
        Some(part) if part.rejected_spans > 0 => Err(Refused::for_good(format!(
            "the collector refused {} of them: {}",
            part.rejected_spans, part.error_message
        ))),
        _ => Ok(()),
    }
}

/// What OTLP calls retryable.
fn is_retried(status: i32) -> bool {
    const ABORTED: i32 = 10;
    const OUT_OF_RANGE: i32 = 11;
    const DATA_LOSS: i32 = 15;
    matches!(
        status,
        code::CANCELLED | code::DEADLINE_EXCEEDED | ABORTED | OUT_OF_RANGE | code::UNAVAILABLE | DATA_LOSS
    )
}

/// `host:port`, with the port that is usual where none is given.
pub(super) fn with_port(authority: &str, usual: u16) -> String {
    let after_address = authority.rfind(']').map_or(0, |at| at + 1);
    if authority[after_address..].contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:{usual}")
    }
}

/// Headers as they go out. The error does not show a value.
pub(super) fn headers(pairs: &[(String, String)]) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(name, value): &(String, String)| {
        let parsed = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| format!("{name:?} is no name of a header"))?;
        let mut value = HeaderValue::from_str(value.trim())
            .map_err(|_| format!("the value of the header {name:?} cannot stand in one"))?;
        value.set_sensitive(true);
        Ok((parsed, value))
    };
    pairs.iter().map(header).collect()
}
