//! The agent of Consul, and how it is spoken to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use thiserror::Error;
use transport::tls::{OriginTls, Trust};

use super::COMPONENT;
use super::settings::{ClientSettings, TlsSettings, encoded};
use crate::origin::{Answer, AskError, Origin, Place};
use crate::registry::Means;

const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
/// How much of an answer that is an error is shown.
const SHOWN: usize = 512;

/// Why the agent did not do what it was asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum AgentError {
    /// It cannot be reached, or its answer is no HTTP or does not end.
    #[error(transparent)]
    Asked(#[from] AskError),
    /// It says no.
    #[error("Unexpected response code: {} ({text})", .status.as_u16())]
    Refused { status: StatusCode, text: String },
}

/// The connections to the agent, and the token.
#[derive(Debug)]
pub(super) struct Agent {
    origin: Origin,
    /// Of the client: they stand in every request.
    pub(super) parameters: Vec<(&'static str, String)>,
    authorization: Option<HeaderValue>,
    token: Mutex<Option<HeaderValue>>,
    token_file: Option<PathBuf>,
}

impl Agent {
    pub(super) fn new(settings: &ClientSettings, means: &Means) -> Result<Self, String> {
        let (place, scheme) = place(settings)?;
        let tls = if scheme == "https" {
            Some(tls(&settings.tls)?)
        } else {
            None
        };
        let origin = Origin::new(Place { tls, ..place }, means)?;
        let token_file = (!settings.token_file.is_empty()).then(|| PathBuf::from(&settings.token_file));
        let mut token = settings.token.clone();
        if let Some(file) = &token_file {
            let read = read_token(file)?;
            if !read.is_empty() {
                token = read;
            }
        }
        Ok(Self {
            origin,
            parameters: settings.parameters.clone(),
            authorization: settings.authorization.as_deref().map(secret).transpose()?,
            token: Mutex::new(if token.is_empty() {
                None
            } else {
                Some(secret(&token)?)
            }),
            token_file,
        })
    }

    /// Asks for what is at a path. `token` takes the place of that of the client.
    pub(super) async fn get(
        &self,
        target: &str,
        token: &str,
        caching: &str,
        limit: Duration,
    ) -> Result<Answer, AgentError> {
        let mut headers = HeaderMap::new();
        if let Ok(token) = secret(token)
            && !token.is_empty()
        {
            headers.insert(TOKEN, token);
        }
        if let Ok(caching) = HeaderValue::from_str(caching)
            && !caching.is_empty()
        {
            headers.insert(header::CACHE_CONTROL, caching);
        }
        self.ask(Method::GET, target, headers, Bytes::new(), limit).await
    }

    /// Asks for what is at a path, with the parameters of the client alone.
    pub(super) async fn get_plain(&self, path: &str, limit: Duration) -> Result<Answer, AgentError> {
        self.get(&self.target(path), "", "", limit).await
    }

    /// Puts something, or nothing, to a path.
    pub(super) async fn put(&self, path: &str, body: Bytes, limit: Duration) -> Result<Answer, AgentError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.ask(Method::PUT, &self.target(path), headers, body, limit)
            .await
    }

    fn target(&self, path: &str) -> String {
        match encoded(self.parameters.iter().cloned()) {
            none if none.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        mut headers: HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, AgentError> {
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let is_own = !headers.contains_key(TOKEN);
        loop {
            let token = self.token();
            let mut sent = headers.clone();
            if let Some(token) = token.clone().filter(|_| is_own) {
                sent.insert(TOKEN, token);
            }
            let answer = self
                .origin
                .ask(method.clone(), target, sent, body.clone(), limit)
                .await?;
            if answer.status == StatusCode::OK {
                return Ok(answer);
            }
            // Whoever renews tokens writes the new one to the file before the old one is refused.
            if answer.status == StatusCode::FORBIDDEN && is_own && self.has_new_token(token.as_ref()) {
                continue;
            }
            let shown = &answer.body[..answer.body.len().min(SHOWN)];
            return Err(AgentError::Refused {
                status: answer.status,
                text: String::from_utf8_lossy(shown).trim().to_owned(),
            });
        }
    }

    fn token(&self) -> Option<HeaderValue> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file of the token again: whether there is another one than that which was refused.
    fn has_new_token(&self, refused: Option<&HeaderValue>) -> bool {
        let read = self.token_file.as_deref().map(read_token);
        let Some(Ok(text)) = read.filter(|read| read.as_ref().is_ok_and(|text| !text.is_empty())) else {
            return false;
        };
        let Ok(token) = secret(&text) else { return false };
        let is_new = refused != Some(&token);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        is_new
    }
}

fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "the token or the password has bytes that no header can have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_token(file: &Path) -> Result<String, String> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("Error loading token file {} : {error}", file.display())),
    }
}

/// Where the agent is, and how it is spoken to: `http` or `https`.
fn place(settings: &ClientSettings) -> Result<(Place, String), String> {
    let mut scheme = settings.scheme.clone();
    let (mut authority, mut prefix, mut unix) = (settings.address.as_str(), String::new(), None);
    if let Some((kind, rest)) = settings.address.split_once("://") {
        authority = rest;
        match kind {
            "unix" => {
                unix = Some(PathBuf::from(rest));
                authority = "localhost";
            }
            // It does not take back what `scheme` asks for.
            "http" => {}
            "https" => kind.clone_into(&mut scheme),
            other => return Err(format!("Unknown protocol scheme: {other}")),
        }
        if let Some((host, path)) = authority.split_once('/') {
            authority = host;
            prefix = format!("/{}", path.trim_end_matches('/'));
        }
    }
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(format!("unsupported protocol scheme {scheme:?}"));
    }
    if prefix == "/" {
        prefix.clear();
    }
    let place = Place {
        authority: authority.to_owned(),
        prefix,
        tls: None,
        unix,
    };
    Ok((place, scheme))
}

fn tls(settings: &TlsSettings) -> Result<OriginTls, String> {
    let read = |path: &str| fs::read(path).map_err(|error| format!("open {path}: {error}"));
    let identity = match (settings.certificate_file.as_str(), settings.key_file.as_str()) {
        ("", "") => None,
        ("", _) | (_, "") => return Err("both client cert and client key must be provided".to_owned()),
        (certificate, key) => Some((read(certificate)?, read(key)?)),
    };
    let roots = if !settings.ca_file.is_empty() {
        let file = &settings.ca_file;
        Some(fs::read(file).map_err(|error| format!("Error loading CA File: open {file}: {error}"))?)
    } else if !settings.ca_path.is_empty() {
        Some(roots_in(Path::new(&settings.ca_path))?)
    } else {
        None
    };
    let trust = match &roots {
        _ if settings.trusts_anyone => {
            tracing::info!(
                target: "dapr.contrib",
                component = COMPONENT,
                "hashicorp consul: you are using 'insecureSkipVerify' to skip server config verify which is unsafe!"
            );
            Trust::Anyone
        }
        Some(roots) => Trust::Only(roots),
        None => Trust::System,
    };
    let identity = identity.as_ref().map(|(chain, key)| (&chain[..], &key[..]));
    let tls = OriginTls::http1(trust, identity).map_err(|error| error.to_string())?;
    let name = match settings.name.rsplit_once(':') {
        // An IPv6 address without a port has colons, too.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => &settings.name,
    };
    Ok(if name.is_empty() { tls } else { tls.named(name) })
}

/// The certificates of all files in a folder and below.
fn roots_in(folder: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("Error loading file from CAPath: {error}");
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // A folder that is linked to is not gone into, so that there is an end.
            let kind = path.symlink_metadata().map_err(failed)?;
            if kind.is_dir() {
                folders.push(path);
            } else if !path.is_dir() {
                all.extend(fs::read(&path).map_err(failed)?);
                all.push(b'\n');
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str, scheme: &str) -> Result<(String, String, String), String> {
        let settings = ClientSettings {
            address: address.to_owned(),
            scheme: scheme.to_owned(),
            ..ClientSettings::default()
        };
        place(&settings).map(|(place, scheme)| {
            let at = match place.unix {
                Some(path) => format!("unix {}", path.display()),
                None => place.authority,
            };
            (scheme, at, place.prefix)
        })
    }

    #[test]
    fn addresses() {
        for (address, scheme, wanted) in [
            ("127.0.0.1:8500", "http", ("http", "127.0.0.1:8500", "")),
            ("agent", "https", ("https", "agent", "")),
            ("https://agent:1", "http", ("https", "agent:1", "")),
            ("http://agent:1", "https", ("https", "agent:1", "")),
            ("http://agent:1/", "http", ("http", "agent:1", "")),
            ("http://agent:1/consul/", "http", ("http", "agent:1", "/consul")),
            (
                "unix:///run/consul.sock",
                "http",
                ("http", "unix /run/consul.sock", ""),
            ),
        ] {
            let (wanted_scheme, at, prefix) = wanted;
            let wanted = (wanted_scheme.to_owned(), at.to_owned(), prefix.to_owned());
            assert_eq!(of(address, scheme), Ok(wanted), "{address}");
        }
        assert_eq!(
            of("ftp://x", "http"),
            Err("Unknown protocol scheme: ftp".to_owned())
        );
        assert_eq!(
            of("x", "gopher"),
            Err("unsupported protocol scheme \"gopher\"".to_owned())
        );
    }

    #[test]
    fn what_tls_needs() {
        let settings = |certificate: &str, key: &str, ca: &str| TlsSettings {
            certificate_file: certificate.to_owned(),
            key_file: key.to_owned(),
            ca_file: ca.to_owned(),
            ..TlsSettings::default()
        };
        let error = |settings| tls(&settings).map(drop).unwrap_err();
        for half in [settings("/x", "", ""), settings("", "/x", "")] {
            assert_eq!(error(half), "both client cert and client key must be provided");
        }
        assert!(error(settings("", "", "/nosuch")).starts_with("Error loading CA File: open /nosuch: "));
    }
}
