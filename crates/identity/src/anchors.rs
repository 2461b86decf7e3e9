//! The trust anchors: certificates of authorities that are believed without further proof.
//!
//! They come as PEM in a variable, as a file, or both. The file is watched. An anchor that is new in it is trusted at
//! once. An anchor that has left it stays trusted until the last certificate issued under it must have expired. So a
//! new authority can take over without a call that fails.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use thiserror::Error;
use transport::tls::Withdrawals;

use crate::SCOPE;
use crate::certificate::{Validity, validity};
use crate::pem;
use crate::settings::AnchorSource;

/// The longest file, in bytes; a certificate has about one thousand.
const LONGEST_FILE: u64 = 1 << 20;
/// How many anchors that have left the file are remembered.
const MOST_RETIRED: usize = 64;

/// Trust anchors that cannot be used.
#[derive(Debug, Error)]
pub enum AnchorsError {
    /// There are none.
    #[error("trust anchors are required")]
    Missing,
    /// What there is cannot be read as certificates.
    #[error("failed to decode trust anchors: {0}")]
    Undecodable(&'static str),
    /// What stands in the file cannot be read as certificates.
    #[error("failed to decode trust anchors of file '{}': {cause}", path.display())]
    UndecodableFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: &'static str,
    },
    /// The file cannot be read.
    #[error("failed to read trust anchors of file '{}': {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// One certificate that is trusted.
#[derive(Clone, Debug)]
struct Anchor {
    der: Vec<u8>,
    /// How others are traced back to it; nothing if it may not sign any, as Go has it.
    trusted: Option<TrustAnchor<'static>>,
    validity: Validity,
    /// Until when it is trusted although its file does not have it any more; seconds since 1970.
    retired: Option<i64>,
}

/// The anchors of a moment.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    all: Vec<Anchor>,
    trusted: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    fn of(all: Vec<Anchor>) -> Self {
        let trusted = all.iter().filter_map(|anchor| anchor.trusted.clone()).collect();
        Self { all, trusted }
    }

    /// Those that may be believed now, and whether that is all of them. The library that builds paths looks at
    /// the dates of every certificate but these.
    pub(crate) fn at(&self, now: i64) -> (Cow<'_, [TrustAnchor<'static>]>, bool) {
        let is_usable =
            |anchor: &Anchor| anchor.validity.contains(now) && anchor.retired.is_none_or(|end| now <= end);
        if self.all.iter().all(is_usable) {
            return (Cow::Borrowed(&self.trusted), true);
        }
        let usable = self.all.iter().filter(|anchor| is_usable(anchor));
        (
            usable.filter_map(|anchor| anchor.trusted.clone()).collect(),
            false,
        )
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

/// Reads anchors from PEM.
fn parse(text: &str) -> Result<Vec<Anchor>, &'static str> {
    let certificates = pem::certificates(text).map_err(|_| "no certificates found")?;
    let anchors = certificates.into_iter().map(|der| {
        let validity = validity(&der).ok()?;
        let certificate = CertificateDer::from(der);
        let trusted = webpki::anchor_from_trusted_cert(&certificate).ok()?.to_owned();
        let trusted = transport::tls::may_sign(&certificate).then_some(trusted);
        let der = certificate.to_vec();
        Some(Anchor {
            der,
            trusted,
            validity,
            retired: None,
        })
    });
    anchors
        .collect::<Option<_>>()
        .ok_or("x509: malformed certificate")
}

/// The anchors, as they are at any moment. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct AnchorStore {
    current: Arc<ArcSwap<Anchors>>,
    value: Vec<Anchor>,
    file: Option<PathBuf>,
    withdrawals: Withdrawals,
}

impl AnchorStore {
    /// Reads the anchors for the first time.
    pub(crate) async fn load(source: &AnchorSource) -> Result<Self, AnchorsError> {
        let value = match source.value.as_deref() {
            None | Some("") => Vec::new(),
            Some(text) => parse(text).map_err(AnchorsError::Undecodable)?,
        };
        let mut all = value.clone();
        if let Some(path) = &source.file {
            merge(&mut all, read(path).await?);
        }
        if all.is_empty() {
            return Err(AnchorsError::Missing);
        }
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(Anchors::of(all))),
            value,
            file: source.file.clone(),
            withdrawals: Withdrawals::default(),
        })
    }

    /// Counts the anchors that are not trusted any more.
    pub(crate) fn withdrawals(&self) -> &Withdrawals {
        &self.withdrawals
    }

    /// The anchors of this moment.
    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Anchors>> {
        self.current.load()
    }

    /// Whether there is a file to watch.
    pub(crate) fn is_watched(&self) -> bool {
        self.file.is_some()
    }

    /// Reads the file again; `true` when it has other anchors than before. Those that it does not have any more
    /// stay until `retire_at`. A file that cannot be read changes nothing.
    pub(crate) async fn reload(&self, now: i64, retire_at: i64) -> Result<bool, AnchorsError> {
        let Some(path) = &self.file else {
            return Ok(false);
        };
        let mut all = self.value.clone();
        merge(&mut all, read(path).await?);
        let before = self.current.load_full();
        let mut retired = 0;
        let (mut is_changed, mut is_withdrawn) = (false, false);
        for old in &before.all {
            if all.iter().any(|anchor| anchor.der == old.der) {
                is_changed |= old.retired.is_some();
                continue;
            }
            is_changed |= old.retired.is_none();
            let end = old.retired.unwrap_or(retire_at);
            if now <= end && retired < MOST_RETIRED {
                retired += 1;
                all.push(Anchor {
                    retired: Some(end),
                    ..old.clone()
                });
            } else {
                (is_changed, is_withdrawn) = (true, true);
            }
        }
        is_changed |= all.len() != before.all.len();
        if is_changed {
            tracing::info!(
                target: SCOPE,
                "Trust anchors were read again: {} in use, {retired} of them only until older certificates end",
                all.len()
            );
            self.current.store(Arc::new(Anchors::of(all)));
        }
        if is_withdrawn {
            tracing::info!(
                target: SCOPE,
                "A trust anchor is trusted no more: connections that were made before are made anew"
            );
            self.withdrawals.withdraw();
        }
        Ok(is_changed)
    }
}

/// Adds what is not there yet.
fn merge(all: &mut Vec<Anchor>, more: Vec<Anchor>) {
    for anchor in more {
        if all.iter().all(|known| known.der != anchor.der) {
            all.push(anchor);
        }
    }
}

async fn read(path: &Path) -> Result<Vec<Anchor>, AnchorsError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_limited(&owned)).await;
    let text = read
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| AnchorsError::File {
            path: path.to_owned(),
            source,
        })?;
    parse(&text).map_err(|cause| AnchorsError::UndecodableFile {
        path: path.to_owned(),
        cause,
    })
}

/// The text of a file of a sane size.
fn read_limited(path: &Path) -> io::Result<String> {
    use std::io::Read;

    let mut text = String::new();
    std::fs::File::open(path)?
        .take(LONGEST_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use integration_tests::pki::Authority;

    fn source(value: Option<&str>, file: Option<&Path>) -> AnchorSource {
        AnchorSource {
            value: value.map(ToOwned::to_owned),
            file: file.map(ToOwned::to_owned),
        }
    }

    async fn refused(value: &str) -> String {
        let error = AnchorStore::load(&source(Some(value), None)).await.unwrap_err();
        error.to_string()
    }

    #[tokio::test]
    async fn what_is_no_anchor() {
        let broken = pem::encode("CERTIFICATE", b"x");
        for (value, wanted) in [
            ("", "trust anchors are required"),
            ("x", "failed to decode trust anchors: no certificates found"),
            (
                &*broken,
                "failed to decode trust anchors: x509: malformed certificate",
            ),
        ] {
            assert_eq!(refused(value).await, wanted);
        }
        let path = Path::new("/nonexistent/ca.pem");
        let error = AnchorStore::load(&source(None, Some(path))).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("failed to read trust anchors of file '/nonexistent/ca.pem': "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_file_is_merged_and_what_leaves_it_retires() {
        let [fixed, old, new] = [(); 3].map(|()| Authority::new().pem());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, &old).unwrap();
        let store = AnchorStore::load(&source(Some(&fixed), Some(&path)))
            .await
            .unwrap();
        let usable = |now| store.current().at(now).0.len();
        let now = 1_700_000_000;
        assert_eq!(usable(now), 2);
        assert!(!store.reload(now, now + 100).await.unwrap());
        std::fs::write(&path, format!("{new}{fixed}")).unwrap();
        assert!(store.reload(now, now + 100).await.unwrap());
        // The variable, the new one, and the old one for a while.
        assert_eq!((usable(now), usable(now + 100), usable(now + 101)), (3, 3, 2));
        assert!(!store.reload(now + 1, now + 200).await.unwrap());
        assert_eq!((usable(now + 100), usable(now + 101)), (3, 2));
        assert_eq!(store.withdrawals().count(), 0, "it is still trusted");
        assert!(store.reload(now + 101, now + 300).await.unwrap());
        assert_eq!((store.current().len(), store.withdrawals().count()), (2, 1));
        for broken in ["", "not PEM"] {
            std::fs::write(&path, broken).unwrap();
            store.reload(now + 102, now + 300).await.unwrap_err();
            assert_eq!(usable(now + 102), 2);
        }
        // An anchor that comes back is one like any other.
        std::fs::write(&path, &old).unwrap();
        assert!(store.reload(now + 103, now + 300).await.unwrap());
        std::fs::write(&path, format!("{new}{old}")).unwrap();
        assert!(store.reload(now + 104, now + 300).await.unwrap());
        assert_eq!(usable(now + 1000), 3);
    }

    #[tokio::test]
    async fn not_all_that_left_a_file_is_remembered() {
        let many: String = (0..MOST_RETIRED + 2).map(|_| Authority::new().pem()).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, many).unwrap();
        let store = AnchorStore::load(&source(None, Some(&path))).await.unwrap();
        std::fs::write(&path, Authority::new().pem()).unwrap();
        let now = 1_700_000_000;
        assert!(store.reload(now, now + 100).await.unwrap());
        assert_eq!(store.current().at(now).0.len(), 1 + MOST_RETIRED);
        assert_eq!(store.withdrawals().count(), 1, "two are trusted no more");
    }

    #[tokio::test]
    async fn anchors_have_dates() {
        let authority = Authority::valid(1_000, 2_000);
        let store = AnchorStore::load(&source(Some(&authority.pem()), None))
            .await
            .unwrap();
        for (now, wanted) in [(999, 0), (1_000, 1), (2_000, 1), (2_001, 0)] {
            assert_eq!(store.current().at(now).0.len(), wanted, "{now}");
        }
    }

    #[tokio::test]
    async fn a_file_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, " ".repeat(1 + (1 << 20))).unwrap();
        let error = AnchorStore::load(&source(None, Some(&path))).await.unwrap_err();
        assert!(error.to_string().ends_with("the file is too large"), "{error}");
    }
}
