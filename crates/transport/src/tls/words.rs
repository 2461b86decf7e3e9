//! Failures of TLS in the words of Go's `crypto/tls`, by which users and their searches know them.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

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
            _ => error.to_string(),
        },
    }
}

fn of_rustls(error: &Error) -> String {
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::InvalidEmptyPayload
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::UnknownProtocolVersion,
        ) => "tls: first record does not look like a TLS handshake".to_owned(),
        Error::InvalidCertificate(CertificateError::Other(cause)) => cause.to_string(),
        Error::InvalidCertificate(cause) => {
            format!(
                "tls: failed to verify certificate: x509: {}",
                of_certificate(cause)
            )
        }
        Error::AlertReceived(alert) => format!("remote error: tls: {}", of_alert(*alert)),
        other => format!("tls: {other}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        // An authority of the same name whose key did not sign it is none that is known.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        other => other.to_string(),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InternalError => "internal error",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({other:?})"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let of = |error: Error| go_words(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, wanted) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "tls: first record does not look like a TLS handshake",
            ),
            (
                Error::AlertReceived(AlertDescription::BadCertificate),
                "remote error: tls: bad certificate",
            ),
            (
                Error::AlertReceived(AlertDescription::UnrecognisedName),
                "remote error: tls: alert(UnrecognisedName)",
            ),
            (Error::DecryptError, "tls: cannot decrypt peer's message"),
        ] {
            assert_eq!(of(error), wanted);
        }
        assert_eq!(go_words(&io::ErrorKind::UnexpectedEof.into()), "EOF");
        assert_eq!(
            go_words(&io::ErrorKind::TimedOut.into()),
            "context deadline exceeded"
        );
    }
}
