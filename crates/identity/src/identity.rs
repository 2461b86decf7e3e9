//! The identity of a sidecar, and what is made of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifecycle::StartupWait;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use transport::tls::{ClientTls, ServerTls};

use crate::anchors::{AnchorStore, AnchorsError};
use crate::authority::{self, RequestError};
use crate::configs::{self, Shown};
use crate::counters::Counters;
use crate::renewal;
use crate::settings::Settings;
use crate::spiffe::{SpiffeError, SpiffeId};
use crate::svid::Svid;
use crate::verify::{Expected, Verifier};
use crate::{SCOPE, certificate};

/// The service that signs certificates.
const SENTRY: &str = "dapr-sentry";

/// An identity that cannot be had.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// There is nobody to trust.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// Sentry cannot have such an id.
    #[error("the namespace of the control plane cannot be part of a SPIFFE id: {0}")]
    ControlPlane(#[from] SpiffeError),
    /// There is no first certificate.
    #[error("failed to retrieve the initial identity: {0}")]
    Initial(#[from] RequestError),
    /// The library of TLS does not work.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Who this sidecar is. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) authority: Arc<Authority>,
    pub(crate) shown: Shown,
    /// Both are made once, so that what is wrong with them is known at the start. A client for somebody is this one
    /// with another verifier.
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

/// What asking sentry takes.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) settings: Settings,
    pub(crate) anchors: AnchorStore,
    pub(crate) counters: Arc<Counters>,
    provider: Arc<CryptoProvider>,
    tls: Arc<rustls::ClientConfig>,
}

impl Authority {
    async fn new(settings: Settings, counters: Arc<Counters>) -> Result<Self, IdentityError> {
        let anchors = AnchorStore::load(&settings.anchors).await?;
        let sentry = settings.control_plane.id(SENTRY)?;
        let provider = transport::tls::provider();
        let verifier = Verifier::new(anchors.clone(), Expected::Exact(sentry), Arc::clone(&provider));
        let tls = configs::client(Arc::clone(&provider), verifier, None)?;
        Ok(Self {
            settings,
            anchors,
            counters,
            provider,
            tls: Arc::new(tls),
        })
    }

    /// Asks sentry once for a certificate.
    pub(crate) async fn request(&self) -> Result<Svid, RequestError> {
        let config = Arc::clone(&self.tls);
        let tls = ClientTls::new(move |_| Arc::clone(&config));
        let svid = authority::request(&self.settings, tls, now()).await;
        match &svid {
            Ok(svid) => {
                self.counters.expires_at(svid.validity.not_after);
                self.warn_of(svid);
            }
            Err(error) => self.counters.failure(error.reason()),
        }
        svid
    }

    /// A certificate that peers would refuse is shown nevertheless: it is theirs to judge, and the clock that is
    /// wrong may be ours.
    fn warn_of(&self, svid: &Svid) {
        let verifier = self.verifier(Expected::Any);
        let Some((leaf, issuers)) = svid.certified.cert.split_first() else {
            return;
        };
        if let Err(error) = verifier.verify(leaf, issuers, UnixTime::now()) {
            tracing::warn!(target: SCOPE, "The certificate of sentry would be refused by this sidecar: {error}");
        }
    }

    fn verifier(&self, expected: Expected) -> Verifier {
        Verifier::new(self.anchors.clone(), expected, Arc::clone(&self.provider))
    }
}

impl Identity {
    /// Asks sentry for the first certificate, and waits for it as long as sentry cannot be reached; the log tells
    /// why, and so does `waiting`. An answer that will not change is an error.
    pub async fn obtain(
        settings: Settings,
        counters: Arc<Counters>,
        waiting: &StartupWait,
    ) -> Result<Self, IdentityError> {
        let authority = Arc::new(Authority::new(settings, counters).await?);
        tracing::info!(target: SCOPE, "Fetching initial identity");
        let svid = renewal::first(&authority, waiting).await?;
        let identity = Self::of(authority, svid)?;
        tracing::info!(target: SCOPE, "Security is initialized successfully");
        Ok(identity)
    }

    fn of(authority: Arc<Authority>, svid: Svid) -> Result<Self, IdentityError> {
        let shown = Shown::new(svid);
        let provider = || Arc::clone(&authority.provider);
        let server = configs::server(provider(), authority.verifier(Expected::Any), shown.clone())?;
        let client = configs::client(provider(), authority.verifier(Expected::Any), Some(shown.clone()))?;
        Ok(Self {
            authority,
            shown,
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// Renews the certificate and watches the anchors until the future is dropped.
    pub async fn keep_fresh(self) {
        renewal::keep_fresh(self).await;
    }

    /// The SPIFFE id that the certificate of this moment proves.
    pub fn spiffe_id(&self) -> SpiffeId {
        self.shown.current().id.clone()
    }

    /// How a server for other sidecars secures its connections: anybody whom an anchor vouches for may connect,
    /// whatever the trust domain; policies judge calls.
    pub fn server_tls(&self) -> ServerTls {
        ServerTls::new(Arc::clone(&self.server), |leaf: &CertificateDer<'_>| {
            certificate::leaf(leaf).ok().map(|leaf| leaf.id.to_shared())
        })
        .until(self.authority.anchors.withdrawals().clone())
    }

    /// How a client of other sidecars secures its connections. The identity that it expects is the path of a
    /// SPIFFE id, `/ns/<namespace>/<app id>`.
    pub fn peer_tls(&self) -> ClientTls {
        let identity = self.clone();
        let withdrawals = self.authority.anchors.withdrawals().clone();
        ClientTls::new(move |path| identity.client_for(Expected::Path(path.into()))).until(withdrawals)
    }

    /// How a client of a service of the control plane, such as `dapr-operator`, secures its connections. The
    /// identity of the peer is the one of this service, whatever a key says.
    pub fn control_plane_tls(&self, service: &str) -> Result<ClientTls, SpiffeError> {
        let id = self.authority.settings.control_plane.id(service)?;
        let config = self.client_for(Expected::Exact(id));
        Ok(ClientTls::new(move |_| Arc::clone(&config)))
    }

    fn client_for(&self, expected: Expected) -> Arc<rustls::ClientConfig> {
        let mut config = (*self.client).clone();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(self.authority.verifier(expected)));
        Arc::new(config)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
