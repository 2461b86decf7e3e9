//! Whether a chain of certificates proves a SPIFFE id, by the rules of SPIFFE's X.509-SVID, sections 4 and 5, as
//! Dapr applies them: one bundle of anchors for all trust domains, any extended key usage, no revocation.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use transport::tls::x509_words;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use crate::anchors::{AnchorStore, Anchors};
use crate::certificate::{self, CertificateError};
use crate::spiffe::SpiffeId;

/// Why a peer is not who it should be, in the words of Go's libraries.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum VerifyError {
    /// Its certificate is not one of a workload.
    #[error("x509svid: {0}")]
    Leaf(#[from] CertificateError),
    /// Nobody whom we trust vouches for it.
    #[error("x509svid: could not verify leaf certificate: x509: {0}")]
    Chain(String),
    /// It is another workload.
    #[error("unexpected SPIFFE ID: \"{0}\"")]
    Path(SpiffeId),
    /// It is another service of the control plane.
    #[error("unexpected ID \"{0}\"")]
    Exact(SpiffeId),
}

/// Who a peer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Anybody for whom an anchor vouches.
    Any,
    /// The workload of this path, whatever its trust domain.
    Path(Arc<str>),
    /// This one.
    Exact(SpiffeId),
}

impl Expected {
    fn accept(&self, id: SpiffeId) -> Result<SpiffeId, VerifyError> {
        match self {
            Self::Path(path) if id.path() != &**path => Err(VerifyError::Path(id)),
            Self::Exact(exact) if id != *exact => Err(VerifyError::Exact(id)),
            _ => Ok(id),
        }
    }
}

/// Verifies the peers of connections against the anchors of the moment.
pub(crate) struct Verifier {
    anchors: AnchorStore,
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(anchors: AnchorStore, expected: Expected, provider: Arc<CryptoProvider>) -> Self {
        Self {
            anchors,
            expected,
            provider,
        }
    }

    /// The id that a chain proves at this time, if it is an expected one.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<SpiffeId, VerifyError> {
        let id = certificate::leaf(leaf)?.id;
        self.verify_chain(&self.anchors.current(), leaf, intermediates, now)?;
        self.expected.accept(id)
    }

    fn verify_chain(
        &self,
        anchors: &Anchors,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (trusted, are_all) = anchors.at(seconds);
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| chain(&error, true))?;
        end_entity
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &trusted,
                intermediates,
                now,
                AnyUsage,
                None,
                None,
            )
            .map(drop)
            .map_err(|error| chain(&error, are_all))
    }

    fn for_rustls(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.verify(leaf, intermediates, now)
            .map(drop)
            .map_err(|error| rustls::CertificateError::Other(OtherError(Arc::new(error))).into())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// A certificate may be made for anything: some authorities forget one usage, or all.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn chain(error: &webpki::Error, are_all_anchors_valid: bool) -> VerifyError {
    let mut words = x509_words(error);
    if matches!(error, webpki::Error::UnknownIssuer) && !are_all_anchors_valid {
        words.push_str(" (or by one whose own certificate is not valid now)");
    }
    VerifyError::Chain(words)
}

/// Seconds since 1970 as RFC 3339.
pub(crate) fn show_date(seconds: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

impl ServerCertVerifier for Verifier {
    /// The name that was asked for is not looked at: the SPIFFE id is who the server is.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.for_rustls(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// Nothing is said about whom we trust: clients have one certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.for_rustls(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

#[cfg(test)]
mod tests;
