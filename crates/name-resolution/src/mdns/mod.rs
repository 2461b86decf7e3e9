//! mDNS: the default where there is no control plane.
//!
//! The records are those that Go sidecars exchange (service `APPID.local.`, instance `HOST:PID.APPID.local.`, TXT
//! with the app id), so both kinds find each other. One listener per address family lives as long as the
//! process: it answers questions about this sidecar, learns of others from whatever goes by, and obeys goodbyes.

mod actor;
mod packet;
mod sockets;

use std::sync::Arc;

use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use tokio::sync::{mpsc, oneshot};

use crate::registry::{InitError, Instance};
use actor::{Actor, Command, Registration};
pub use sockets::Network;
use sockets::Sockets;

/// Finds sidecars by mDNS and announces this one. Cloning shares it.
#[derive(Clone, Debug)]
pub struct MdnsResolver(Arc<mpsc::Sender<Command>>);

/// What the log calls this resolver.
const COMPONENT: &str = "nr (mdns/v1)";
/// How many requests to the resolver may wait.
const QUEUE: usize = 1024;

impl MdnsResolver {
    /// Announces this sidecar on the interfaces of the host.
    pub fn start(instance: &Instance) -> Result<Self, InitError> {
        Self::start_on(Network::default(), instance)
    }

    /// The same on a network of one's own choice.
    pub fn start_on(network: Network, instance: &Instance) -> Result<Self, InitError> {
        let init = |text: String| {
            tracing::error!(target: "dapr.contrib", component = COMPONENT, "error from zeroconf register: {text}");
            InitError::Init(text)
        };
        let registration = Registration::of(instance).map_err(init)?;
        let sockets = Sockets::open(network).map_err(init)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let shown = format!(
            "{} -> {}:{}",
            instance.app_id, instance.address, instance.internal_port
        );
        tokio::spawn(Actor::new(registration, sockets, queue).run());
        tracing::info!(target: "dapr.contrib", component = COMPONENT, "local service entry announced: {shown}");
        Ok(Self(Arc::new(commands)))
    }

    /// Says goodbye. Others drop this sidecar at once; resolving goes on.
    pub async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.send(Command::Withdraw(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Reads a packet as the actor does, for the fuzz targets: whether it is one.
///
/// # Panics
/// If writing it with and without compression gives two packets that are not the same.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) -> bool {
    let Some(packet) = packet::Packet::parse(bytes) else {
        return false;
    };
    if let (Some(plain), Some(compressed)) = (packet.write(false), packet.write(true)) {
        assert!(compressed.len() <= plain.len());
        assert_eq!(packet::Packet::parse(&plain), packet::Packet::parse(&compressed));
    }
    true
}

impl Resolver for MdnsResolver {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        let id = app.id.as_str().to_owned();
        if let Err(error) = self.0.try_send(Command::Watch(id, publisher)) {
            let (mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command)) =
                error;
            if let Command::Watch(id, publisher) = command {
                let text = format!("timeout waiting for address for app id {id}");
                publisher.fail(ResolveError::new(text));
            }
        }
        watch
    }

    fn unreachable(&self, app: &AppRef, endpoint: &Endpoint) {
        let command = Command::Unreachable(app.id.as_str().to_owned(), Arc::clone(endpoint.address()));
        // When the queue is full the next failure tells it again.
        let _ = self.0.try_send(command);
    }
}

#[cfg(test)]
mod tests;
