//! Failures of TLS in the words of Go's `crypto/tls`, by which users and their searches know them. What Go has no words
//! for is said in plain ones: the names of the library's errors never reach a user.

use std::io;

use go_text::system_words;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// What both ends of a handshake must have in common.
const OFFERED: &str = "TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305; cipher suites with CBC are not \
    among it";

/// The words of Go for what went wrong in, or after, a handshake.
pub(crate) fn go_words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(error) => of_rustls(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
            io::ErrorKind::BrokenPipe => "write: broken pipe".to_owned(),
            io::ErrorKind::TimedOut => "context deadline exceeded".to_owned(),
            _ => system_words(error).unwrap_or_else(|| error.to_string()),
        },
    }
}

/// The same failure of a client's handshake, with what an operator can do about it, where the other side only says that
/// it does not want to.
pub(super) fn explained(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let hint = match inner {
        Some(Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )) => format!(
            "the server takes nothing of what this sidecar offers, which is {OFFERED}; or it wants to see a client \
             certificate"
        ),
        Some(
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::NoCipherSuitesInCommon,
            ),
        ) => format!("this sidecar offers {OFFERED}"),
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{} ({hint})", go_words(&error)))
}

/// The words for an error of the library.
pub(super) fn of_rustls(error: &Error) -> String {
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::InvalidEmptyPayload
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::UnknownProtocolVersion,
        ) => "tls: first record does not look like a TLS handshake".to_owned(),
        Error::InvalidCertificate(CertificateError::Other(cause)) => cause.to_string(),
        Error::InvalidCertificate(cause) => of_certificate(cause),
        Error::AlertReceived(alert) => format!("remote error: tls: {}", of_alert(*alert)),
        Error::PeerIncompatible(why) => of_incompatible(why),
        Error::PeerMisbehaved(why) => {
            format!(
                "tls: the other side breaks the protocol: {}",
                spelled_out(&format!("{why:?}"))
            )
        }
        Error::InvalidMessage(why) => format!(
            "tls: a message of the other side cannot be read: {}",
            spelled_out(&format!("{why:?}"))
        ),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "tls: received unexpected handshake message".to_owned()
        }
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::DecryptError => "local error: tls: bad record MAC".to_owned(),
        Error::PeerSentOversizedRecord => "local error: tls: record overflow".to_owned(),
        Error::NoApplicationProtocol => {
            "tls: the other side knows none of our application protocols".to_owned()
        }
        Error::General(text) => format!("tls: {text}"),
        Error::Other(cause) => format!("tls: {cause}"),
        Error::InconsistentKeys(_) => "tls: private key does not match public key".to_owned(),
        other => format!("tls: {}", spelled_out(&format!("{other:?}"))),
    }
}

fn of_incompatible(why: &PeerIncompatible) -> String {
    let words = match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "tls: server selected unsupported protocol version"
        }
        PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled => {
            "tls: client offered only unsupported versions"
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            "tls: no cipher suite supported by both client and server"
        }
        PeerIncompatible::NoKxGroupsInCommon => "tls: no ECDHE curve supported by both client and server",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "tls: peer doesn't support any of the certificate's signature algorithms"
        }
        other => {
            return format!(
                "tls: the other side does not fit this one: {}",
                spelled_out(&format!("{other:?}"))
            );
        }
    };
    words.to_owned()
}

/// The name of a value of an enumeration, as words: `KeyShareExtensionRequired` becomes `key share extension required`.
fn spelled_out(name: &str) -> String {
    let name = name.split(['(', '{', ' ']).next().unwrap_or_default();
    let mut words = String::with_capacity(name.len() + 8);
    let mut before = None;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before.is_some_and(|before: char| !before.is_ascii_uppercase()) {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
        before = Some(letter);
    }
    words
}

/// What the library finds wrong with a certificate by itself. Who vouches for it is judged by verifiers of our own,
/// which have their own words; so this is about the handshake.
fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::BadSignature => "tls: invalid signature by the server certificate".to_owned(),
        CertificateError::BadEncoding => {
            "tls: failed to parse certificate from server: x509: malformed certificate".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "tls: the handshake is signed with an algorithm that does not go with the certificate".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".to_owned()
        }
        other => format!(
            "tls: failed to verify certificate: x509: {}",
            spelled_out(&format!("{other:?}"))
        ),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CloseNotify => "close notify",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::DecryptionFailed => "decryption failed",
        AlertDescription::RecordOverflow => "record overflow",
        AlertDescription::DecompressionFailure => "decompression failure",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::IllegalParameter => "illegal parameter",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ExportRestriction => "export restriction",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::InappropriateFallback => "inappropriate fallback",
        AlertDescription::UserCanceled => "user canceled",
        AlertDescription::NoRenegotiation => "no renegotiation",
        AlertDescription::MissingExtension => "missing extension",
        AlertDescription::UnsupportedExtension => "unsupported extension",
        AlertDescription::CertificateUnobtainable => "certificate unobtainable",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::BadCertificateStatusResponse => "bad certificate status response",
        AlertDescription::BadCertificateHashValue => "bad certificate hash value",
        AlertDescription::UnknownPSKIdentity => "unknown PSK identity",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        AlertDescription::EncryptedClientHelloRequired => "encrypted client hello required",
        other => return format!("alert({})", u8::from(other)),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use rustls::PeerMisbehaved;

    use super::*;

    fn of(error: Error) -> String {
        go_words(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn words() {
        for (error, wanted) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "tls: first record does not look like a TLS handshake",
            ),
            (
                Error::InvalidMessage(InvalidMessage::MissingKeyExchange),
                "tls: a message of the other side cannot be read: missing key exchange",
            ),
            (
                Error::AlertReceived(AlertDescription::BadCertificate),
                "remote error: tls: bad certificate",
            ),
            (
                Error::AlertReceived(AlertDescription::UnrecognisedName),
                "remote error: tls: unrecognized name",
            ),
            (
                Error::AlertReceived(AlertDescription::from(200)),
                "remote error: tls: alert(200)",
            ),
            (Error::DecryptError, "local error: tls: bad record MAC"),
            (
                Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
                "tls: no ECDHE curve supported by both client and server",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::KeyShareExtensionRequired),
                "tls: the other side does not fit this one: key share extension required",
            ),
            (
                Error::PeerMisbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext),
                "tls: the other side breaks the protocol: illegal tls inner plaintext",
            ),
            (
                CertificateError::BadSignature.into(),
                "tls: invalid signature by the server certificate",
            ),
            (Error::HandshakeNotComplete, "tls: handshake not complete"),
        ] {
            assert_eq!(of(error), wanted);
        }
        assert_eq!(go_words(&io::ErrorKind::UnexpectedEof.into()), "EOF");
        assert_eq!(
            go_words(&io::ErrorKind::TimedOut.into()),
            "context deadline exceeded"
        );
    }

    #[test]
    fn what_the_other_side_does_not_say() {
        let explained =
            |error: Error| go_words(&explained(io::Error::new(io::ErrorKind::InvalidData, error)));
        for (error, wanted) in [
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "remote error: tls: handshake failure (the server takes nothing of what this sidecar offers, which is \
                 TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305; cipher suites with CBC are not among \
                 it; or it wants to see a client certificate)",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "tls: server selected unsupported protocol version (this sidecar offers TLS 1.3, or TLS 1.2 with ECDHE \
                 and AES-GCM or ChaCha20-Poly1305; cipher suites with CBC are not among it)",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "remote error: tls: unknown certificate authority",
            ),
        ] {
            assert_eq!(explained(error), wanted);
        }
    }
}
