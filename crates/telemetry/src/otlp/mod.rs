//! What all exporters to collectors of OpenTelemetry have in common: who is spoken to and how, and what the variables of
//! OpenTelemetry say of that. What a configuration says, and which of the two comes first, is told by the plans of
//! [`traces`](crate::traces) and of [`push`](crate::push): Dapr's order for traces is its own.

mod variables;

use std::time::Duration;

use thiserror::Error;

pub(crate) use variables::Variables;

/// How long an export may take unless somebody says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// A variable or a file that cannot be read. What is wrong with it may be a secret and is not shown.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct VariableError(pub(crate) String);

/// A collector of OpenTelemetry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Collector {
    /// `host:port`.
    pub(crate) authority: String,
    pub(crate) protocol: Protocol,
    pub(crate) is_secure: bool,
    /// Certificates, in PEM, of those who vouch for it; `None` for those that the system trusts.
    pub(crate) roots: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) is_packed: bool,
}

/// How a collector is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    /// HTTP, with the path of the collector.
    Http(String),
}

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host:port`.
    pub(crate) authority: String,
    /// For HTTP.
    pub(crate) path: String,
    /// Whether the scheme says that the connection is plain.
    pub(crate) is_plain: bool,
}

impl Endpoint {
    /// An address that has the whole path, or else none, so that it is the usual one.
    pub(crate) fn whole(endpoint: &str, usual: &str) -> Self {
        let (authority, path) = split(endpoint);
        Self {
            authority: authority.to_owned(),
            path: match path.trim_end_matches('/') {
                "" => usual.to_owned(),
                path => path.to_owned(),
            },
            is_plain: endpoint.starts_with("http://"),
        }
    }
}

/// Address and path of an endpoint, without the scheme.
fn split(endpoint: &str) -> (&str, &str) {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| endpoint.strip_prefix(scheme))
        .unwrap_or(endpoint);
    rest.find('/').map_or((rest, ""), |at| rest.split_at(at))
}

/// The authorities in a file.
fn roots(file: &str) -> Result<Vec<u8>, VariableError> {
    std::fs::read(file).map_err(|error| VariableError(format!("the certificate {file}: {error}")))
}
