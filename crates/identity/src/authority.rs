//! The client of sentry, Dapr's certificate authority.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use dapr_proto::sentry::{SignCertificateRequest, SignCertificateResponse};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use invoke_core::RpcStatus;
use invoke_core::error::code;
use lifecycle::Tasks;
use prost::Message;
use thiserror::Error;
use tokio::time::{sleep, timeout};
use transport::client::{ClientError, CountedBody, ErrorKind, H2Pool, H2PoolConfig, PeerKey};
use transport::grpc::{GrpcStatus, MESSAGE_HEAD, MessageHead, MessageReader, format_timeout, status_of_http};
use transport::tls::ClientTls;

use crate::counters::Failed;
use crate::csr::{FreshKey, NoKey};
use crate::jwt::JwtError;
use crate::settings::Settings;
use crate::svid::{Svid, SvidError};
use crate::token::TokenError;

const METHOD: &str = "/dapr.proto.sentry.v1.CA/SignCertificate";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// As Dapr spells it.
const RETRY: HeaderName = HeaderName::from_static("x-retry-attempty");

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 5;
/// Between two attempts, in milliseconds: 50, more or less by a tenth.
const PAUSE: std::ops::RangeInclusive<u64> = 45..=55;
/// The longest answer, in bytes; usual ones have about two thousand.
const LONGEST_ANSWER: usize = 1 << 20;

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
    pool: H2Pool<Full<Bytes>>,
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
        let message = framed(message);
        let mut attempt = 0;
        loop {
            self.pool
                .connect(&self.peer)
                .await
                .map_err(|error| no_connection(&error))?;
            let request = head_of(uri.clone(), message.clone(), attempt);
            let status = match timeout(ATTEMPT_TIMEOUT, self.attempt(request)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => RpcStatus::new(code::DEADLINE_EXCEEDED, "context deadline exceeded"),
            };
            attempt += 1;
            if attempt == ATTEMPTS || !is_retried(status.code) {
                return Err(RequestError::Refused(status));
            }
            sleep(Duration::from_millis(fastrand::u64(PAUSE))).await;
        }
    }

    async fn attempt(&self, request: Request<Full<Bytes>>) -> Result<SignCertificateResponse, RpcStatus> {
        let sent = self.pool.send(&self.peer, request).await;
        let answer = sent.map_err(|error| {
            RpcStatus::new(code::UNAVAILABLE, format!("error reading from server: {error}"))
        })?;
        read(answer).await
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

/// The message behind its head.
fn framed(message: &SignCertificateRequest) -> Bytes {
    let length = message.encoded_len();
    let head = MessageHead {
        compressed: false,
        length: u32::try_from(length).unwrap_or(u32::MAX),
    };
    let mut bytes = BytesMut::with_capacity(MESSAGE_HEAD + length);
    bytes.put_slice(&head.to_bytes());
    bytes.put(message.encode_to_vec().as_slice());
    bytes.freeze()
}

fn head_of(uri: Uri, message: Bytes, attempt: u32) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Ok(limit) = HeaderValue::try_from(format_timeout(ATTEMPT_TIMEOUT)) {
        headers.insert(GRPC_TIMEOUT, limit);
    }
    if attempt > 0 {
        headers.insert(RETRY, HeaderValue::from(attempt));
    }
    request
}

/// Reads an answer of one message.
async fn read(answer: Response<CountedBody>) -> Result<SignCertificateResponse, RpcStatus> {
    let rpc = |status: GrpcStatus| RpcStatus::new(status.code, status.message);
    let internal = |text: String| RpcStatus::new(code::INTERNAL, text);
    let head = GrpcStatus::from_headers(answer.headers());
    if let Some(status) = head.filter(|status| status.code != code::OK) {
        return Err(rpc(status));
    }
    if answer.status() != http::StatusCode::OK {
        let text = format!(
            "unexpected HTTP status code received from server: {}",
            answer.status()
        );
        return Err(RpcStatus::new(status_of_http(answer.status()), text));
    }
    let mut messages = MessageReader::new(answer.into_body(), LONGEST_ANSWER);
    let mut decoded = None;
    while let Some(message) = messages.next().await {
        match message {
            Ok((false, message)) if decoded.is_none() => {
                let message = SignCertificateResponse::decode(message).map_err(|error| {
                    internal(format!("grpc: failed to unmarshal the received message: {error}"))
                })?;
                decoded = Some(message);
            }
            Ok((false, _)) => return Err(internal("more than one message was received".to_owned())),
            Ok((true, _)) => return Err(internal("a compressed message was received".to_owned())),
            Err(error) => return Err(RpcStatus::new(code::UNAVAILABLE, error.to_string())),
        }
    }
    let status = messages
        .take_trailers()
        .as_ref()
        .and_then(GrpcStatus::from_headers);
    match (status, decoded) {
        (Some(status), _) if status.code != code::OK => Err(rpc(status)),
        (Some(_), Some(answer)) => Ok(answer),
        (Some(_), None) => Err(internal("no message was received".to_owned())),
        (None, _) => Err(internal(
            "server closed the stream without sending trailers".to_owned(),
        )),
    }
}
