//! One look at an app.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use invoke_core::error::code;
use invoke_core::{Body, Head, Invocation, MethodPath, Origin, Verb};
use tokio::time::timeout;

use super::SCOPE;
use crate::channel::HttpChannel;
use crate::grpc::GrpcChannel;
use crate::watched::{NO_ANSWER, Watched};

const HEALTH_CHECK: &str = "/dapr.proto.runtime.v1.AppCallbackHealthCheck/HealthCheck";

/// Checks the health of an app. Give it connections of its own: calls that wait for the app would make it look ill.
#[derive(Debug)]
pub struct Probe(Kind, Watched);

#[derive(Debug)]
enum Kind {
    Http {
        channel: HttpChannel,
        method: MethodPath,
        query: Bytes,
    },
    Grpc(GrpcChannel),
}

impl Probe {
    /// Asks an HTTP app for `path`, which may have a query; any 2xx is well.
    pub fn http(channel: HttpChannel, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let method = path.strip_prefix('/').unwrap_or(path);
        let kind = Kind::Http {
            channel,
            method: MethodPath::parse(method.to_owned()).unwrap_or_default(),
            query: Bytes::copy_from_slice(query.as_bytes()),
        };
        Self(kind, Watched::default())
    }

    /// Calls `AppCallbackHealthCheck/HealthCheck` of a gRPC app.
    pub fn grpc(channel: GrpcChannel) -> Self {
        Self(Kind::Grpc(channel), Watched::default())
    }

    /// Probes are told.
    #[must_use]
    pub fn watched(self, watched: Watched) -> Self {
        Self(self.0, watched)
    }

    /// The look; the error says what is wrong.
    pub(super) async fn run(&self, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        match &self.0 {
            Kind::Http {
                channel,
                method,
                query,
            } => {
                let mut head = Head::new(method.clone(), Origin::Http);
                head.verb = Some(Verb::GET);
                head.query = query.clone();
                let looked = timeout(limit, ask(channel, head)).await;
                let (status, looked) = looked.unwrap_or_else(|_| {
                    let text = "Network error: context deadline exceeded".to_owned();
                    (NO_ANSWER, Err(text))
                });
                if let Some(observer) = self.1.observer() {
                    observer.http_probed(status, begun.elapsed());
                }
                looked
            }
            Kind::Grpc(channel) => {
                let looked = timeout(limit, channel.ping(HEALTH_CHECK)).await;
                if let Some(observer) = self.1.observer() {
                    let status = looked
                        .as_ref()
                        .map_or(code::DEADLINE_EXCEEDED, |status| status.code);
                    observer.grpc_probed(status, begun.elapsed());
                }
                let looked = match looked {
                    Ok(status) if status.code == 0 => return Ok(()),
                    Ok(status) => invoke_core::RpcStatus::new(status.code, status.message).to_string(),
                    Err(_) => {
                        "rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned()
                    }
                };
                tracing::error!(target: SCOPE, "App health probe could not complete with error: {looked}");
                Err(format!("Probe error: {looked}"))
            }
        }
    }
}

/// The status, and whether that is well.
async fn ask(channel: &HttpChannel, head: Head) -> (i32, Result<(), String>) {
    let call = Invocation {
        head,
        body: Body::empty(),
    };
    let failed = |text: String| (NO_ANSWER, Err(format!("Network error: {text}")));
    let reply = match channel.send(call).await {
        Ok(reply) => reply,
        Err(error) => return failed(error.to_string()),
    };
    let code = reply.status.code;
    // The connection is used again only when the answer was read to its end.
    let mut body = reply.body;
    while let Some(frame) = body.frame().await {
        if let Err(error) = frame {
            return failed(error.to_string());
        }
    }
    let looked = if (200..300).contains(&code) {
        Ok(())
    } else {
        Err(format!("Health check failed with status code: {code}"))
    };
    (code, looked)
}
