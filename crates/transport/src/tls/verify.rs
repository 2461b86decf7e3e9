//! Verifies the certificate of a server on the web or of an `HTTPEndpoint`: it must name the host, and a root of the
//! pool must vouch for it. The rules are those of Go's `Certificate.Verify`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error as ThisError;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};
use x509_parser::certificate::X509Certificate;

use super::roots::Roots;
use super::x509::{self, Untrusted, x509_words};

/// `1.3.6.1.5.5.7.3.1`.
const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
/// `2.5.29.37.0`.
const ANY_USAGE: KeyPurposeId<'static> = KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0]);

/// As callers read it.
#[derive(Debug, ThisError)]
#[error("tls: failed to verify certificate: x509: {0}")]
struct Refused(Untrusted);

/// Verifies servers by the names of their hosts.
#[derive(Debug)]
pub(super) struct Verifier {
    roots: Roots,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(roots: Roots, provider: Arc<CryptoProvider>) -> Self {
        Self { roots, provider }
    }

    /// In Go's order: the dates, the name, and then who vouches for it.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let certificate = x509::parse(leaf)?;
        x509::check_dates(&certificate, x509::seconds(now))?;
        let unreadable = |error: webpki::Error| match error {
            // It cannot have names of hosts.
            webpki::Error::UnsupportedCertVersion => x509::wrong_name(&certificate, host),
            error => Untrusted::Chain(x509_words(&error)),
        };
        let end_entity = EndEntityCert::try_from(leaf).map_err(unreadable)?;
        end_entity
            .verify_is_valid_for_subject_name(host)
            .map_err(|_| x509::wrong_name(&certificate, host))?;
        if let Some(weak) = x509::weak_key(&certificate) {
            return Err(Untrusted::Chain(weak));
        }
        if self.roots.contains(leaf) {
            // Nobody needs to vouch for what is trusted itself. It must still be meant for servers.
            return is_for_servers(&certificate);
        }
        self.verify_chain(&end_entity, intermediates, now)
            .map_err(|error| self.untrusted(&error, &certificate, intermediates, now))
    }

    fn verify_chain(
        &self,
        end_entity: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let anchors = self.roots.anchors_at(x509::seconds(now));
        let is_short = |path: &webpki::VerifiedPath<'_>| {
            if self
                .roots
                .allows(path.anchor(), path.intermediate_certificates().count())
            {
                Ok(())
            } else {
                Err(webpki::Error::PathLenConstraintViolated)
            }
        };
        end_entity
            .verify_for_usage(
                self.provider.signature_verification_algorithms.all,
                &anchors,
                intermediates,
                now,
                ForServers,
                None,
                Some(&is_short),
            )
            .map(drop)
    }

    fn untrusted(
        &self,
        error: &webpki::Error,
        leaf: &X509Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Untrusted {
        match error {
            // "Unknown authority" helps an operator more than "a CA was used as a server's certificate".
            webpki::Error::CaUsedAsEndEntity if self.is_orphan(leaf, intermediates) => {
                Untrusted::UnknownAuthority(String::new())
            }
            webpki::Error::UnknownIssuer
            | webpki::Error::InvalidSignatureForPublicKey
            | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                let mut chain = vec![leaf.clone()];
                chain.extend(intermediates.iter().filter_map(|der| x509::parse(der).ok()));
                let mut hint = self.roots.hint(&chain, x509::seconds(now));
                if hint.is_empty() {
                    hint = x509::weak_keys(&chain);
                }
                Untrusted::UnknownAuthority(hint)
            }
            error => Untrusted::Chain(x509_words(error)),
        }
    }
}

impl Verifier {
    /// Whether nobody but itself, neither among the roots nor in the chain, has the name of who signed a certificate.
    fn is_orphan(&self, leaf: &X509Certificate<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
        let issuer = leaf.issuer().as_raw();
        let is_sent = intermediates
            .iter()
            .filter_map(|der| x509::parse(der).ok())
            .any(|other| other.subject().as_raw() == issuer && other.as_ref() != leaf.as_ref());
        !is_sent && !self.roots.names(issuer)
    }
}

fn is_for_servers(certificate: &X509Certificate<'_>) -> Result<(), Untrusted> {
    let is_unhandled = certificate
        .extensions()
        .iter()
        .any(|extension| extension.critical && extension.parsed_extension().unsupported());
    if is_unhandled {
        return Err(Untrusted::Chain(x509_words(
            &webpki::Error::UnsupportedCriticalExtension,
        )));
    }
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.any || usage.value.server_auth => Ok(()),
        Ok(Some(_)) => Err(Untrusted::Chain(x509_words(&webpki::Error::EmptyEkuExtension))),
        Err(_) => Err(Untrusted::Malformed),
    }
}

/// A certificate that names usages must name that of servers, or all.
struct ForServers;

impl ExtendedKeyUsageValidator for ForServers {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut names_none = true;
        for usage in usages {
            if [SERVER_AUTH, ANY_USAGE].contains(&usage?) {
                return Ok(());
            }
            names_none = false;
        }
        if names_none {
            Ok(())
        } else {
            Err(webpki::Error::EmptyEkuExtension)
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, server_name, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|why| CertificateError::Other(OtherError(Arc::new(Refused(why)))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
