//! The connection, and the calls on it.

use std::time::Duration;

use bytes::Bytes;
use dapr_proto::operator::{
    GetConfigurationRequest, GetConfigurationResponse, ListComponentResponse, ListComponentsRequest,
    ListHttpEndpointsRequest, ListHttpEndpointsResponse, ListResiliencyRequest, ListResiliencyResponse,
};
use grpc_wire::{GrpcStatus, Messages, ServerStream, Unary};
use http::Uri;
use http::header::{HeaderName, HeaderValue};
use invoke_core::RpcStatus;
use invoke_core::error::code;
use lifecycle::{StartupWait, Tasks};
use prost::Message;
use tokio::time::{Instant, sleep, sleep_until};
use transport::client::{ClientError, ErrorKind, H2Pool, H2PoolConfig, PeerKey};
use transport::tls::ClientTls;

use crate::SCOPE;
use crate::error::OperatorError;

const SERVICE: &str = "/dapr.proto.operator.v1.Operator/";
/// As Dapr spells it.
const RETRY: HeaderName = HeaderName::from_static("x-retry-attempty");

/// How long the operator may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The first pause between two attempts to connect, and the longest.
const CONNECT_PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 100;
/// Between two attempts of a call, in milliseconds: 50, more or less by a tenth.
const PAUSE: std::ops::RangeInclusive<u64> = 45..=55;
/// The longest answer, in bytes: all resources of a namespace.
const LONGEST_ANSWER: usize = 16 << 20;

/// Where the operator is, and how it proves that it is the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port`.
    pub address: String,
    /// Verifies the operator, and shows it who asks.
    pub tls: ClientTls,
}

/// A connection to the operator. It ends when this is dropped.
#[derive(Debug)]
pub struct Operator {
    pool: H2Pool,
    peer: PeerKey,
    address: String,
    tasks: Tasks,
}

impl Operator {
    /// Connects, and tries again for half a minute; the log tells why, and so does `waiting`.
    pub async fn connect(settings: Settings, waiting: &StartupWait) -> Result<Self, OperatorError> {
        Self::connect_within(settings, CONNECT_TIMEOUT, waiting).await
    }

    pub(crate) async fn connect_within(
        settings: Settings,
        limit: Duration,
        waiting: &StartupWait,
    ) -> Result<Self, OperatorError> {
        let config = H2PoolConfig {
            connect_timeout: limit,
            // Servers of Go take pings in shorter intervals for an attack.
            keep_alive: Some((Duration::from_secs(310), Duration::from_secs(20))),
            max_peers: 1,
            tls: Some(settings.tls),
            ..H2PoolConfig::default()
        };
        let tasks = Tasks::new();
        let operator = Self {
            pool: H2Pool::new(config, tasks.clone()),
            peer: PeerKey {
                address: settings.address.as_str().into(),
                identity: Some("dapr-operator".into()),
            },
            address: settings.address,
            tasks,
        };
        operator.uri("")?;
        operator.reach(Instant::now() + limit, waiting).await?;
        Ok(operator)
    }

    /// Tries until the deadline, up to it: a service that comes late is found.
    async fn reach(&self, deadline: Instant, waiting: &StartupWait) -> Result<(), OperatorError> {
        let (mut pause, longest) = CONNECT_PAUSES;
        let mut last = "Error while dialing: i/o timeout".to_owned();
        waiting.because("context canceled");
        loop {
            tokio::select! {
                biased;
                connected = self.pool.connect(&self.peer) => match connected {
                    Ok(()) => {
                        waiting.over();
                        return Ok(());
                    }
                    Err(error) => last = no_connection(&error),
                },
                () = sleep_until(deadline) => return Err(OperatorError::Connection(last)),
            }
            if Instant::now() >= deadline {
                return Err(OperatorError::Connection(last));
            }
            tracing::warn!(target: SCOPE, "No connection to the operator at {}: {last}", self.address);
            waiting.because(format!(
                "context canceled: connection error: desc = \"transport: {last}\""
            ));
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// The configuration of this name, as JSON.
    pub async fn configuration(&self, name: &str, namespace: &str) -> Result<Bytes, OperatorError> {
        let request = GetConfigurationRequest {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        let answer: GetConfigurationResponse = self.call("GetConfiguration", &request).await?;
        if answer.configuration.is_empty() {
            return Err(OperatorError::NoConfiguration(name.to_owned()));
        }
        Ok(answer.configuration)
    }

    /// The components of a namespace that are for this app, each as JSON.
    pub async fn components(&self, namespace: &str) -> Result<Vec<Bytes>, OperatorError> {
        let namespace = namespace.to_owned();
        let request = ListComponentsRequest { namespace };
        let answer: ListComponentResponse = self.call("ListComponents", &request).await?;
        Ok(answer.components)
    }

    /// The HTTP endpoints of a namespace, each as JSON, with the secrets that they name.
    pub async fn http_endpoints(&self, namespace: &str) -> Result<Vec<Bytes>, OperatorError> {
        let namespace = namespace.to_owned();
        let request = ListHttpEndpointsRequest { namespace };
        let answer: ListHttpEndpointsResponse = self.call("ListHTTPEndpoints", &request).await?;
        Ok(answer.http_endpoints)
    }

    /// The resiliency policies of a namespace, each as JSON.
    pub async fn resiliency(&self, namespace: &str) -> Result<Vec<Bytes>, OperatorError> {
        let namespace = namespace.to_owned();
        let request = ListResiliencyRequest { namespace };
        let answer: ListResiliencyResponse = self.call("ListResiliency", &request).await?;
        Ok(answer.resiliencies)
    }

    /// The stream of a method, opened as soon as there is a connection. Without an end by itself.
    pub(crate) async fn stream(&self, method: &str, request: &impl Message) -> Result<Messages, GrpcStatus> {
        let uri = self
            .uri(method)
            .map_err(|error| GrpcStatus::new(code::UNAVAILABLE, error.to_string()))?;
        let stream = ServerStream {
            uri,
            message: request.encode_to_vec().into(),
            max_message: LONGEST_ANSWER,
        };
        stream.open(&self.pool, &self.peer).await
    }

    /// Makes sure that there is a connection.
    pub(crate) async fn connected(&self) -> Result<(), String> {
        self.pool
            .connect(&self.peer)
            .await
            .map_err(|error| no_connection(&error))
    }

    fn uri(&self, method: &str) -> Result<Uri, OperatorError> {
        Uri::builder()
            .scheme("https")
            .authority(self.address.as_str())
            .path_and_query(format!("{SERVICE}{method}"))
            .build()
            .map_err(|_| OperatorError::Address)
    }

    async fn call<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<A, OperatorError> {
        let call = Unary {
            uri: self.uri(method)?,
            message: request.encode_to_vec().into(),
            timeout: ATTEMPT_TIMEOUT,
            max_answer: LONGEST_ANSWER,
        };
        let mut attempt: u32 = 0;
        loop {
            let number = [(RETRY, HeaderValue::from(attempt))];
            let metadata = if attempt == 0 { &[][..] } else { &number };
            let status = match call.call(&self.pool, &self.peer, metadata).await {
                Ok(answer) => return A::decode(answer).map_err(|_| malformed()),
                Err(status) => RpcStatus::new(status.code, status.message),
            };
            attempt += 1;
            if attempt == ATTEMPTS || !is_retried(status.code) {
                return Err(OperatorError::Refused(status));
            }
            tracing::debug!(target: SCOPE, "{method} of the operator failed, trying again: {status}");
            sleep(Duration::from_millis(fastrand::u64(PAUSE))).await;
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn is_retried(code: i32) -> bool {
    matches!(
        code,
        code::UNAVAILABLE | code::RESOURCE_EXHAUSTED | code::DEADLINE_EXCEEDED
    )
}

fn malformed() -> OperatorError {
    let text = "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data";
    OperatorError::Refused(RpcStatus::new(code::INTERNAL, text.to_owned()))
}

fn no_connection(error: &ClientError) -> String {
    let stage = match error.kind() {
        ErrorKind::Connect => "Error while dialing",
        _ => "authentication handshake failed",
    };
    format!("{stage}: {error}")
}

#[cfg(test)]
mod tests;
