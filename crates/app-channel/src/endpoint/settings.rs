//! What an `HTTPEndpoint` says, and what can be wrong with it.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use invoke_core::headers;
use thiserror::Error;
use transport::tls::{OriginTls, OriginTlsError, Trust};

/// An endpoint, its secrets and variables resolved. Its `Debug` shows none of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EndpointSettings {
    /// The name by which apps call it.
    pub name: String,
    /// `http://…` or `https://…`, perhaps with a path.
    pub base_url: String,
    /// Headers that every request has; they replace those of the caller.
    pub headers: Vec<(String, String)>,
    /// PEM: the only authorities that are trusted; empty for those of the system.
    pub root_ca: String,
    /// PEM: what proves who calls.
    pub certificate: String,
    /// PEM: its key. A certificate without a key is not used.
    pub private_key: String,
    /// `Never`, `OnceAsClient`, `FreelyAsClient` or empty. A server that asks for a renegotiation is always refused.
    pub renegotiation: String,
}

impl fmt::Debug for EndpointSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSettings")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An endpoint that cannot be called as it is set up.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// `baseUrl` is no address.
    #[error("http endpoint {name}: {reason}")]
    BaseUrl {
        /// The endpoint.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A header that no request can have.
    #[error("http endpoint {name}: invalid header {header:?}")]
    Header {
        /// The endpoint.
        name: String,
        /// The name of the header.
        header: String,
    },
    /// `rootCA` has no certificate.
    #[error("failed to add root cert to cert pool for http endpoint {name}")]
    RootCa {
        /// The endpoint.
        name: String,
    },
    /// `certificate` and `privateKey` are of no use.
    #[error("failed to load client certificate for http endpoint {name}: {reason}")]
    ClientCertificate {
        /// The endpoint.
        name: String,
        /// Why not.
        reason: String,
    },
    /// `renegotiation` is no known word.
    #[error("invalid renegotiation value {value} for http endpoint {name}")]
    Renegotiation {
        /// The endpoint.
        name: String,
        /// What it is.
        value: String,
    },
    /// TLS cannot be set up.
    #[error("failed to set up TLS for http endpoint {name}: {reason}")]
    Tls {
        /// The endpoint.
        name: String,
        /// Why not.
        reason: String,
    },
}

impl EndpointSettings {
    /// The headers that the resource adds. Those that belong to the connection, the address or the trace are not its to set.
    pub(crate) fn added_headers(&self) -> Result<HeaderMap, EndpointError> {
        let mut added = HeaderMap::new();
        for (header_name, value) in &self.headers {
            let invalid = || EndpointError::Header {
                name: self.name.clone(),
                header: header_name.clone(),
            };
            let name = HeaderName::try_from(header_name.as_str()).map_err(|_| invalid())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            let is_not_its = headers::is_hop_by_hop(&name)
                || matches!(
                    name.as_str(),
                    "host" | "content-length" | "traceparent" | "tracestate"
                );
            if !is_not_its {
                added.insert(name, value);
            }
        }
        Ok(added)
    }

    /// How connections are secured, if the resource says anything about that.
    pub(crate) fn own_tls(&self) -> Result<Option<OriginTls>, EndpointError> {
        let name = || self.name.clone();
        if !matches!(
            self.renegotiation.as_str(),
            "" | "Never" | "OnceAsClient" | "FreelyAsClient"
        ) {
            let value = self.renegotiation.clone();
            return Err(EndpointError::Renegotiation { name: name(), value });
        }
        let identity = match (self.certificate.as_str(), self.private_key.as_str()) {
            (_, "") => None,
            ("", _) => {
                return Err(EndpointError::ClientCertificate {
                    name: name(),
                    reason: "there is a private key, but no certificate".to_owned(),
                });
            }
            (certificate, key) => Some((certificate.as_bytes(), key.as_bytes())),
        };
        if self.root_ca.is_empty() && identity.is_none() {
            return Ok(None);
        }
        let trust = if self.root_ca.is_empty() {
            Trust::System
        } else {
            Trust::Only(self.root_ca.as_bytes())
        };
        let tls = OriginTls::http1(trust, identity).map_err(|error| match error {
            OriginTlsError::NoRoots if !self.root_ca.is_empty() => EndpointError::RootCa { name: name() },
            OriginTlsError::ClientCertificate(_) | OriginTlsError::Library(_) if identity.is_some() => {
                let reason = error.to_string();
                EndpointError::ClientCertificate { name: name(), reason }
            }
            error => EndpointError::Tls {
                name: name(),
                reason: error.to_string(),
            },
        })?;
        Ok(Some(tls))
    }
}
