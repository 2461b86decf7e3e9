//! Channels to addresses that are named from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lifecycle::Tasks;
use tokio::time::Instant;
use transport::tls::{OriginTls, OriginTlsError, Trust};

use crate::channel::{ChannelError, HttpChannel, HttpProtocol, HttpSettings};

/// How long the connections to an address that nobody calls are kept.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// Channels by address, no more than so many: the one that was used longest ago makes room.
#[derive(Debug)]
pub(crate) struct Channels {
    channels: Mutex<HashMap<String, (HttpChannel, Instant)>>,
    capacity: usize,
    max_header_bytes: usize,
    tasks: Tasks,
}

impl Channels {
    pub(crate) fn new(capacity: usize, max_header_bytes: usize, tasks: Tasks) -> Self {
        Self {
            channels: Mutex::default(),
            capacity,
            max_header_bytes,
            tasks,
        }
    }

    /// The channel to an address; `tls` is asked once for each that is new.
    pub(crate) fn get<E: From<ChannelError>>(
        &self,
        url: &str,
        tls: impl FnOnce() -> Result<Option<OriginTls>, E>,
    ) -> Result<HttpChannel, E> {
        let now = Instant::now();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((channel, used)) = channels.get_mut(url) {
            *used = now;
            return Ok(channel.clone());
        }
        if channels.len() >= self.capacity {
            channels.retain(|_, (_, used)| now - *used < IDLE);
        }
        if channels.len() >= self.capacity {
            let oldest = channels
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(url, _)| url.clone());
            oldest.map(|oldest| channels.remove(&oldest));
        }
        let channel = self.channel(url, tls()?)?;
        channels.insert(url.to_owned(), (channel.clone(), now));
        Ok(channel)
    }

    /// A channel that is not kept here.
    pub(crate) fn channel(&self, url: &str, tls: Option<OriginTls>) -> Result<HttpChannel, ChannelError> {
        let settings = HttpSettings {
            protocol: HttpProtocol::Http,
            base: url.trim_end_matches('/').to_owned(),
            tls,
            token: None,
            max_header_bytes: self.max_header_bytes,
        };
        HttpChannel::new(settings, self.tasks.clone())
    }
}

/// TLS that trusts the authorities of the system. Reading them takes a while, so it is done once, when they are needed.
/// Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SystemTls(Arc<Mutex<Option<OriginTls>>>);

impl SystemTls {
    pub(crate) fn get(&self) -> Result<OriginTls, OriginTlsError> {
        let mut tls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*tls {
            Some(tls) => Ok(tls.clone()),
            None => Ok(tls.insert(OriginTls::http1(Trust::System, None)?).clone()),
        }
    }
}
