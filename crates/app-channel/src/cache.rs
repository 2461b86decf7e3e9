//! Channels to addresses that are named from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lifecycle::Tasks;
use thiserror::Error;
use tokio::time::Instant;
use transport::client::{Proxies, Proxy, ProxyError, Reuse};
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
    way: Way,
    tasks: Tasks,
}

impl Channels {
    pub(crate) fn new(capacity: usize, max_header_bytes: usize, way: Way, tasks: Tasks) -> Self {
        Self {
            channels: Mutex::default(),
            capacity,
            max_header_bytes,
            way,
            tasks,
        }
    }

    /// The channel to an address; `tls` is asked once for each that is new.
    pub(crate) fn get<E: From<ChannelError> + From<WayError>>(
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
        let channel = self.channel::<E>(url, tls()?)?;
        channels.insert(url.to_owned(), (channel.clone(), now));
        Ok(channel)
    }

    /// A channel that is not kept here.
    pub(crate) fn channel<E: From<ChannelError> + From<WayError>>(
        &self,
        url: &str,
        tls: Option<OriginTls>,
    ) -> Result<HttpChannel, E> {
        let settings = HttpSettings {
            protocol: HttpProtocol::Http,
            base: url.trim_end_matches('/').to_owned(),
            proxy: self.way.to(url)?,
            tls,
            token: None,
            max_header_bytes: self.max_header_bytes,
            deadline_header: None,
            reuse: Reuse::default(),
        };
        Ok(HttpChannel::new(settings, self.tasks.clone())?)
    }
}

/// The way to addresses outside of the mesh: straight, or through a proxy. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    proxies: Proxies,
    /// For proxies that are spoken to over TLS: whatever an endpoint trusts, and whatever it shows, is not for them.
    tls: SystemTls,
}

/// There is no way to an address.
#[derive(Debug, Error)]
pub(crate) enum WayError {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("TLS to the proxy cannot be set up: {0}")]
    Tls(#[from] OriginTlsError),
}

impl Way {
    pub(crate) fn new(proxies: Proxies, tls: SystemTls) -> Self {
        Self { proxies, tls }
    }

    /// The proxy before an address, if there is one.
    pub(crate) fn to(&self, url: &str) -> Result<Option<Proxy>, WayError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_https = scheme.eq_ignore_ascii_case("https");
        let Some(proxy) = self.proxies.before(is_https, authority)? else {
            return Ok(None);
        };
        Ok(Some(if proxy.is_secure() {
            proxy.secured(self.tls.get()?)
        } else {
            proxy
        }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    enum Failure {
        #[error(transparent)]
        Channel(#[from] ChannelError),
        #[error(transparent)]
        Way(#[from] WayError),
    }

    fn get(channels: &Channels, url: &str) {
        channels.get::<Failure>(url, || Ok(None)).unwrap();
    }

    fn known(channels: &Channels) -> Vec<String> {
        let mut known: Vec<String> = channels.channels.lock().unwrap().keys().cloned().collect();
        known.sort();
        known
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_addresses_the_one_that_was_idle_for_longest_is_forgotten() {
        let channels = Channels::new(3, 4096, Way::default(), Tasks::new());
        for url in ["http://a", "http://b", "http://c", "http://a", "http://d"] {
            get(&channels, url);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(known(&channels), ["http://a", "http://c", "http://d"]);
        // Who names a new address each time has no more of them.
        for n in 0..1000 {
            get(&channels, &format!("http://{n}"));
        }
        assert_eq!(known(&channels).len(), 3);
        tokio::time::advance(IDLE).await;
        get(&channels, "http://e");
        assert_eq!(known(&channels), ["http://e"], "what nobody calls goes at once");
    }
}
