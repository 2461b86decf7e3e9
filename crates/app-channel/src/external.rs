//! External endpoints: whole URLs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use invoke_core::{Cause, ExternalEndpoints, Fault, InvokeError};
use lifecycle::Tasks;
use tokio::time::Instant;
use transport::tls::{OriginTls, Trust};

use crate::channel::{HttpChannel, HttpProtocol, HttpSettings};

/// How many URLs are known at once.
const CAPACITY: usize = 256;
/// How long the connections to a URL that nobody calls are kept.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// Channels to the `http://…` and `https://…` addresses that callers name. They share nothing with the channel to the app: no
/// token of the app is ever sent to a third party.
#[derive(Debug)]
pub struct External {
    channels: Mutex<HashMap<String, (HttpChannel, Instant)>>,
    max_header_bytes: usize,
    tls: Mutex<Option<OriginTls>>,
    tasks: Tasks,
}

impl External {
    /// No channels; calls make them. `tasks` owns their connections.
    pub fn new(max_header_bytes: usize, tasks: Tasks) -> Self {
        Self {
            channels: Mutex::default(),
            max_header_bytes,
            tls: Mutex::default(),
            tasks,
        }
    }
}

impl External {
    /// Addresses on the web are verified, whatever the app speaks.
    fn tls_for(&self, url: &str) -> Result<Option<OriginTls>, InvokeError> {
        if !url.starts_with("https://") {
            return Ok(None);
        }
        // Reading the system's authorities takes a while, so it is done once.
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if tls.is_none() {
            let system = OriginTls::http1(Trust::System, None);
            *tls = Some(system.map_err(|error| unsupported(&format!("{url}: {error}")))?);
        }
        Ok(tls.clone())
    }
}

impl ExternalEndpoints for External {
    type Channel = HttpChannel;

    fn named(&self, _: &str) -> Option<HttpChannel> {
        None
    }

    fn url(&self, url: &str) -> Result<HttpChannel, InvokeError> {
        let now = Instant::now();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((channel, used)) = channels.get_mut(url) {
            *used = now;
            return Ok(channel.clone());
        }
        if channels.len() >= CAPACITY {
            channels.retain(|_, (_, used)| now - *used < IDLE);
        }
        if channels.len() >= CAPACITY {
            let oldest = channels
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(url, _)| url.clone());
            oldest.map(|oldest| channels.remove(&oldest));
        }
        let settings = HttpSettings {
            protocol: HttpProtocol::Http,
            base: url.trim_end_matches('/').to_owned(),
            tls: self.tls_for(url)?,
            token: None,
            max_header_bytes: self.max_header_bytes,
        };
        let channel = HttpChannel::new(settings, self.tasks.clone())
            .map_err(|error| unsupported(&error.to_string()))?;
        channels.insert(url.to_owned(), (channel.clone(), now));
        Ok(channel)
    }
}

fn unsupported(text: &str) -> InvokeError {
    InvokeError::unsent(
        Fault::Caller,
        Cause::App {
            text: text.to_owned(),
            source: None,
        },
    )
}
