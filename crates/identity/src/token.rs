//! The token that shows sentry who asks.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dapr_proto::sentry::sign_certificate_request::TokenValidator;
use go_text::io_words;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::SCOPE;
use crate::settings::Mode;

/// Where the injector mounts the token that is made for sentry.
const PROJECTED: &str = "/var/run/secrets/dapr.io/sentrytoken/token";
/// Where Kubernetes mounts the token of the service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The longest token, in bytes; sentry would not read more than 4 MiB altogether.
const LONGEST: u64 = 1 << 20;

/// A token that cannot be had.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The variable is there and names nothing.
    #[error("environmental variable DAPR_SENTRY_TOKEN_FILE is set with an empty value")]
    NoFileNamed,
    /// The file cannot be read.
    #[error("failed to read token at path '{path}': open {path}: {}", io_words(.source))]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Nothing stands in the file.
    #[error("token at path '{0}' is empty")]
    Empty(String),
}

/// A token, and by which of sentry's validators it should be judged.
pub(crate) type Token = (Zeroizing<String>, TokenValidator);

/// Where the token is. It is read anew for every request, since tokens are replaced while a sidecar runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    mode: Mode,
    /// `DAPR_SENTRY_TOKEN_FILE`.
    file: Option<String>,
    projected: PathBuf,
    service_account: PathBuf,
}

impl TokenSource {
    /// `file` is the value of `DAPR_SENTRY_TOKEN_FILE`, if the variable is there.
    pub fn new(mode: Mode, file: Option<String>) -> Self {
        Self {
            mode,
            file,
            projected: PROJECTED.into(),
            service_account: SERVICE_ACCOUNT.into(),
        }
    }

    /// Reads the token; an empty one where there is none to have.
    pub(crate) async fn read(&self) -> Result<Token, TokenError> {
        let source = self.clone();
        match tokio::task::spawn_blocking(move || source.find()).await {
            Ok(found) => found,
            Err(error) => Err(TokenError::Unreadable {
                path: self.file.clone().unwrap_or_default(),
                source: io::Error::other(error),
            }),
        }
    }

    fn find(&self) -> Result<Token, TokenError> {
        let in_kubernetes = self.mode == Mode::Kubernetes;
        if let Some(path) = &self.file {
            if path.is_empty() {
                return Err(TokenError::NoFileNamed);
            }
            let token = read(Path::new(path)).map_err(|source| TokenError::Unreadable {
                path: path.clone(),
                source,
            })?;
            if token.is_empty() {
                return Err(TokenError::Empty(path.clone()));
            }
            let validator = if in_kubernetes {
                TokenValidator::Kubernetes
            } else {
                TokenValidator::Jwks
            };
            return Ok((token, validator));
        }
        if !in_kubernetes {
            return Ok((Zeroizing::default(), TokenValidator::Unknown));
        }
        match read(&self.projected) {
            Ok(token) if !token.is_empty() => return Ok((token, TokenValidator::Kubernetes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return Ok((Zeroizing::default(), TokenValidator::Unknown)),
        }
        match read(&self.service_account) {
            Ok(token) if !token.is_empty() => {
                tracing::warn!(
                    target: SCOPE,
                    "Sentry is shown the token of the service account, which is not made for it: the injector \
                     of this cluster is older than this sidecar"
                );
                Ok((token, TokenValidator::Kubernetes))
            }
            _ => Ok((Zeroizing::default(), TokenValidator::Unknown)),
        }
    }
}

/// The token as it stands there, byte by byte.
fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut token = Zeroizing::new(String::new());
    std::fs::File::open(path)?
        .take(LONGEST + 1)
        .read_to_string(&mut token)?;
    if token.len() as u64 > LONGEST {
        return Err(io::Error::other("the file is too large for a token"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use Mode::{Kubernetes, Standalone};
    use TokenValidator::{Jwks, Unknown};

    use super::*;

    #[tokio::test]
    async fn sources_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [
            ("given", "g\n"),
            ("projected", "p"),
            ("account", "a"),
            ("empty", ""),
        ] {
            std::fs::write(path(name), content).unwrap();
        }
        let of = |mode, file: Option<&str>, projected: &str, account: &str| {
            let source = TokenSource {
                mode,
                file: file.map(|name| path(name).display().to_string()),
                projected: path(projected),
                service_account: path(account),
            };
            async move {
                source
                    .read()
                    .await
                    .map(|(token, validator)| (token.to_string(), validator))
            }
        };
        for (mode, file, projected, account, wanted) in [
            (Standalone, None, "projected", "account", ("", Unknown)),
            (Standalone, Some("given"), "projected", "account", ("g\n", Jwks)),
            (
                Kubernetes,
                Some("given"),
                "projected",
                "account",
                ("g\n", TokenValidator::Kubernetes),
            ),
            (
                Kubernetes,
                None,
                "projected",
                "account",
                ("p", TokenValidator::Kubernetes),
            ),
            (
                Kubernetes,
                None,
                "missing",
                "account",
                ("a", TokenValidator::Kubernetes),
            ),
            (Kubernetes, None, "empty", "account", ("", Unknown)),
            (Kubernetes, None, "missing", "missing", ("", Unknown)),
        ] {
            let (token, validator) = of(mode, file, projected, account).await.unwrap();
            assert_eq!(
                (&*token, validator),
                wanted,
                "{mode:?} {file:?} {projected} {account}"
            );
        }
    }

    #[tokio::test]
    async fn mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty").display().to_string();
        std::fs::write(&empty, "").unwrap();
        let binary = folder.path().join("binary").display().to_string();
        std::fs::write(&binary, b"\xff\xfe").unwrap();
        for (file, wanted) in [
            (
                "",
                "environmental variable DAPR_SENTRY_TOKEN_FILE is set with an empty value".to_owned(),
            ),
            (
                "/nonexistent",
                "failed to read token at path '/nonexistent': open /nonexistent: no such file or directory"
                    .to_owned(),
            ),
            (&*empty, format!("token at path '{empty}' is empty")),
            (
                &*binary,
                format!(
                    "failed to read token at path '{binary}': open {binary}: stream did not contain valid UTF-8"
                ),
            ),
        ] {
            let source = TokenSource::new(Mode::Standalone, Some(file.to_owned()));
            assert_eq!(source.read().await.unwrap_err().to_string(), wanted);
        }
    }
}
