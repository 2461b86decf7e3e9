//! Who this sidecar is, and how others prove who they are: mutual TLS with the certificates of Dapr's sentry.
//!
//! [`Identity::obtain`] asks sentry for a certificate (an X.509 SVID of SPIFFE) that it signs for a fresh key;
//! [`Identity::keep_fresh`] renews it before it ends and watches the trust anchors. [`Identity::server_tls`] and
//! [`Identity::peer_tls`] are what `transport` needs for connections between sidecars: they always use the current
//! certificate and the current anchors, and they verify the other side in the handshake, by the rules of SPIFFE and
//! Dapr.
//!
//! What comes from outside (certificates, PEM, tokens, answers) is parsed here into types. An error names what is
//! wrong. Nothing here knows calls, policies or HTTP routes.

mod anchors;
mod authority;
mod certificate;
mod configs;
mod counters;
mod csr;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod jwt;
mod pem;
mod renewal;
mod settings;
mod spiffe;
mod svid;
mod token;
mod verify;

pub use anchors::AnchorsError;
pub use authority::RequestError;
pub use counters::{Counters, Failed};
pub use identity::{Identity, IdentityError};
pub use settings::{AnchorSource, ControlPlane, Mode, Settings};
pub use spiffe::{SpiffeError, SpiffeId, TrustDomain};
pub use svid::SvidError;
pub use token::{TokenError, TokenSource};

/// The scope of the log lines.
const SCOPE: &str = "dapr.runtime.security";
