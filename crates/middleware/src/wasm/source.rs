//! Where a guest is: `url`.

use std::fs::File;
use std::io::{self, Read};

use thiserror::Error;

use super::limits::MODULE;
use crate::web::{Web, WebError};

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(String),
    Web(String),
}

/// Why there is no module, in Dapr's words where Dapr has some.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    #[error("missing url")]
    Missing,
    #[error("invalid URL: {0}")]
    Invalid(String),
    #[error("unsupported URL scheme: {0}")]
    Scheme(String),
    #[error("{verb} {path}: {why}")]
    File {
        verb: &'static str,
        path: String,
        why: String,
    },
    #[error("url: the module is longer than {0} bytes")]
    TooLong(usize),
    #[error("received {status} status code from {url:?}")]
    Status { status: u16, url: String },
    #[error(transparent)]
    Web(#[from] WebError),
}

impl Source {
    /// Reads `url`: `file://` with a path, `http://` or `https://`.
    pub(super) fn new(url: &str) -> Result<Self, SourceError> {
        if url.is_empty() {
            return Err(SourceError::Missing);
        }
        let invalid = || SourceError::Invalid(url.to_owned());
        let (scheme, _) = url.split_once(':').ok_or_else(invalid)?;
        match scheme {
            "file" => {
                let path = url.strip_prefix("file://").filter(|path| !path.is_empty());
                path.map(|path| Self::File(path.to_owned())).ok_or_else(invalid)
            }
            "http" | "https" => Ok(Self::Web(url.to_owned())),
            // Dapr has a name for it, and nothing behind the name.
            "oci" => Err(SourceError::Scheme("oci".to_owned())),
            scheme => Err(SourceError::Scheme(scheme.to_owned())),
        }
    }

    /// The module, if it is in a file.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, SourceError> {
        let Self::File(path) = self else {
            return Ok(None);
        };
        let failed = |verb, error: &io::Error| SourceError::File {
            verb,
            path: path.clone(),
            why: words(error),
        };
        let file = File::open(path).map_err(|error| failed("open", &error))?;
        let about = file.metadata().map_err(|error| failed("stat", &error))?;
        if !about.is_file() && !about.is_dir() {
            // A pipe may never end, and a device does not.
            return Err(SourceError::File {
                verb: "open",
                path: path.clone(),
                why: "not a regular file".to_owned(),
            });
        }
        let mut module = Vec::new();
        let mut file = file.take(MODULE as u64 + 1);
        file.read_to_end(&mut module)
            .map_err(|error| failed("read", &error))?;
        bounded(module).map(Some)
    }

    /// The module, wherever it is.
    pub(super) async fn load(&self, web: &Web) -> Result<Vec<u8>, SourceError> {
        let Self::Web(url) = self else {
            let source = self.clone();
            let read = tokio::task::spawn_blocking(move || source.read()).await;
            return match read {
                Ok(read) => Ok(read?.unwrap_or_default()),
                Err(error) => Err(SourceError::Invalid(error.to_string())),
            };
        };
        let answer = web.get_within(url, MODULE).await?;
        if answer.status != http::StatusCode::OK {
            return Err(SourceError::Status {
                status: answer.status.as_u16(),
                url: url.clone(),
            });
        }
        bounded(answer.body.to_vec())
    }
}

fn bounded(module: Vec<u8>) -> Result<Vec<u8>, SourceError> {
    if module.len() > MODULE {
        return Err(SourceError::TooLong(MODULE));
    }
    Ok(module)
}

/// An error of the system in Go's words.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, wanted) in [
            ("file:///a/b.wasm", Ok(Source::File("/a/b.wasm".into()))),
            ("file://b", Ok(Source::File("b".into()))),
            (
                "http://h/x/r.wasm?v=1",
                Ok(Source::Web("http://h/x/r.wasm?v=1".into())),
            ),
            ("https://h/x.y", Ok(Source::Web("https://h/x.y".into()))),
            ("", Err("missing url")),
            ("nothing", Err("invalid URL: nothing")),
            ("file:", Err("invalid URL: file:")),
            ("file://", Err("invalid URL: file://")),
            ("oci://ghcr.io/a:b", Err("unsupported URL scheme: oci")),
            ("ftp://h/x", Err("unsupported URL scheme: ftp")),
            ("C:\\x", Err("unsupported URL scheme: C")),
        ] {
            match (Source::new(url), wanted) {
                (Ok(source), Ok(wanted)) => assert_eq!(source, wanted, "{url}"),
                (Err(error), Err(wanted)) => assert_eq!(error.to_string(), wanted, "{url}"),
                (source, wanted) => panic!("{url}: {source:?} {wanted:?}"),
            }
        }
    }

    #[test]
    fn files_that_are_none() {
        let folder = std::env::temp_dir();
        for (path, wanted) in [
            (
                "/nonexistent.wasm",
                "open /nonexistent.wasm: no such file or directory",
            ),
            ("/dev/zero", "open /dev/zero: not a regular file"),
        ] {
            let said = Source::File(path.into()).read().unwrap_err().to_string();
            assert_eq!(said, wanted);
        }
        let path = folder.to_string_lossy().into_owned();
        let said = Source::File(path.clone()).read().unwrap_err().to_string();
        assert_eq!(said, format!("read {path}: is a directory"));
    }

    #[test]
    fn a_module_has_a_longest_length() {
        let path = std::env::temp_dir().join(format!("large-{}.wasm", std::process::id()));
        let file = File::create(&path).unwrap();
        // A hundred megabytes that take no room.
        file.set_len(100 << 20).unwrap();
        let source = Source::File(path.to_string_lossy().into_owned());
        let said = source.read().unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(said, "url: the module is longer than 16777216 bytes");
    }
}
