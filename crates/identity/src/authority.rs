//! The client of sentry, Dapr's certificate authority.

use std::time::Duration;

use bytes::Bytes;
use dapr_proto::sentry::{SignCertificateRequest, SignCertificateResponse};
use grpc_wire::Unary;
use http::Uri;
use http::header::{HeaderName, HeaderValue};
use invoke_core::RpcStatus;
use invoke_core::error::code;
use lifecycle::Tasks;
use prost::Message;
use thiserror::Error;
use tokio::time::sleep;
use transport::client::{ClientError, ErrorKind, H2Pool, H2PoolConfig, PeerKey};
use transport::tls::ClientTls;

use crate::counters::Failed;
use crate::csr::{FreshKey, NoKey};
use crate::jwt::JwtError;
use crate::settings::Settings;
use crate::svid::{Svid, SvidError};
use crate::token::TokenError;

const METHOD: &str = "/dapr.proto.sentry.v1.CA/SignCertificate";
/// As Dapr spells it.
const RETRY: HeaderName = HeaderName::from_static("x-retry-attempty");

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 5;
/// Between two attempts, in milliseconds: 50, more or less by a tenth.
const PAUSE: std::ops::RangeInclusive<u64> = 45..=55;
/// The longest answer, in bytes; usual ones have about two thousand.
const LONGEST_ANSWER: usize = 1 << 20;

/// What Go says of everything that somebody has called off.
pub(crate) const INTERRUPTED: &str = "context canceled";

/// A certificate that could not be had.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Nobody said where sentry is.
    #[error(
        "error establishing connection to sentry: the address of sentry is not known: --sentry-address is empty or no address"
    )]
    Address,
    /// There is no connection to sentry: it is not there, or not who it should be.
    #[error("error establishing connection to sentry: connection error: desc = \"transport: {0}\"")]
    Connection(String),
    /// The token cannot be had.
    #[error("error obtaining token: {0}")]
    Token(#[from] TokenError),
    /// There is no key to be certified.
    #[error("failed to generate private key: {0}")]
    Key(#[from] NoKey),
    /// Sentry did not sign.
    #[error("error from sentry SignCertificate: {0}")]
    Refused(RpcStatus),
    /// What sentry answered makes no sense.
    #[error(transparent)]
    Answer(#[from] SvidError),
}

impl RequestError {
    /// Whether it may be better in a while, without anybody changing what was asked.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused(status) => is_retried(status.code),
            _ => false,
        }
    }

    /// The same when somebody ends the waiting for something better.
    pub(crate) fn interrupted(&self) -> String {
        match self {
            Self::Connection(why) => format!(
                "error establishing connection to sentry: {INTERRUPTED}: connection error: desc = \"transport: {why}\""
            ),
            other => other.to_string(),
        }
    }

    /// How the metric names it.
    pub(crate) fn reason(&self) -> Failed {
        match self {
            Self::Address | Self::Connection(_) => Failed::Connection,
            Self::Token(_) => Failed::Token,
            Self::Answer(SvidError::ValidUntil(_)) => Failed::Timestamp,
            Self::Answer(SvidError::Jwt(JwtError::NoAudience | JwtError::Audience)) => Failed::JwtAudience,
            Self::Answer(SvidError::Jwt(_)) => Failed::JwtParse,
            Self::Key(_) | Self::Refused(_) | Self::Answer(_) => Failed::Sign,
        }
    }
}

fn is_retried(code: i32) -> bool {
    matches!(
        code,
        code::UNAVAILABLE | code::RESOURCE_EXHAUSTED | code::DEADLINE_EXCEEDED
    )
}

/// Asks sentry for a certificate of a fresh key, over a connection of its own. `tls` verifies that it is sentry.
pub(crate) async fn request(settings: &Settings, tls: ClientTls, now: i64) -> Result<Svid, RequestError> {
    let uri = Uri::builder()
        .scheme("https")
        .authority(settings.sentry_address.as_str())
        .path_and_query(METHOD)
        .build()
        .map_err(|_| RequestError::Address)?;
    let key = FreshKey::new()?;
    let (token, validator) = settings.token.read().await?;
    let is_control_plane = settings.control_plane.has(&settings.app_id, &settings.namespace);
    let message = SignCertificateRequest {
        id: settings.app_id.clone(),
        token: token.to_string(),
        // Sentry chooses it, but for its own kind.
        trust_domain: if is_control_plane {
            settings.control_plane.trust_domain.as_str().to_owned()
        } else {
            String::new()
        },
        namespace: settings.namespace.clone(),
        certificate_signing_request: key.request().into(),
        token_validator: validator.into(),
        jwt_audiences: settings.jwt_audiences.clone(),
    };
    let answer = Call::new(settings, tls).sign(uri, &message).await?;
    Ok(Svid::of(key, &answer, now)?)
}

/// One call, its attempts included, and the connection that it has for itself.
struct Call {
    pool: H2Pool,
    peer: PeerKey,
    tasks: Tasks,
}

impl Call {
    fn new(settings: &Settings, tls: ClientTls) -> Self {
        let config = H2PoolConfig {
            connect_timeout: CONNECT_TIMEOUT,
            keep_alive: None,
            max_peers: 1,
            tls: Some(tls),
            ..H2PoolConfig::default()
        };
        let tasks = Tasks::new();
        Self {
            pool: H2Pool::new(config, tasks.clone()),
            peer: PeerKey {
                address: settings.sentry_address.as_str().into(),
                identity: Some("dapr-sentry".into()),
            },
            tasks,
        }
    }

    async fn sign(
        &self,
        uri: Uri,
        message: &SignCertificateRequest,
    ) -> Result<SignCertificateResponse, RequestError> {
        let call = Unary {
            uri,
            message: message.encode_to_vec().into(),
            timeout: ATTEMPT_TIMEOUT,
            max_answer: LONGEST_ANSWER,
        };
        let mut attempt: u32 = 0;
        loop {
            self.pool
                .connect(&self.peer)
                .await
                .map_err(|error| no_connection(&error))?;
            let number = [(RETRY, HeaderValue::from(attempt))];
            let metadata = if attempt == 0 { &[][..] } else { &number };
            let status = match call.call(&self.pool, &self.peer, metadata).await {
                Ok(answer) => return decoded(answer).map_err(RequestError::Refused),
                Err(status) => RpcStatus::new(status.code, status.message),
            };
            attempt += 1;
            if attempt == ATTEMPTS || !is_retried(status.code) {
                return Err(RequestError::Refused(status));
            }
            sleep(Duration::from_millis(fastrand::u64(PAUSE))).await;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn no_connection(error: &ClientError) -> RequestError {
    let stage = match error.kind() {
        ErrorKind::Connect => "Error while dialing",
        _ => "authentication handshake failed",
    };
    RequestError::Connection(format!("{stage}: {error}"))
}

fn decoded(answer: Bytes) -> Result<SignCertificateResponse, RpcStatus> {
    SignCertificateResponse::decode(answer).map_err(|_| {
        let text =
            "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data";
        RpcStatus::new(code::INTERNAL, text.to_owned())
    })
}
