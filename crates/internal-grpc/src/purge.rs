//! Closing connections to peers that nobody calls any more.

use std::time::Duration;

use lifecycle::Shutdown;

use crate::client::Client;

/// When idle connections are closed: `DAPR_GRPC_MAX_CONN_IDLE` and `DAPR_GRPC_CONN_COLLECTOR_INTERVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeConfig {
    /// How long a connection may be idle.
    pub max_idle: Duration,
    /// How often idle connections are looked for.
    pub interval: Duration,
}

impl Default for PurgeConfig {
    fn default() -> Self {
        Self {
            max_idle: Duration::from_secs(180),
            interval: Duration::from_secs(45),
        }
    }
}

/// Closes idle connections until the drain is over. A connection that still carries a stream is never idle.
pub async fn purge_idle(client: Client, config: PurgeConfig, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(config.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = shutdown.draining() => return,
            _ = ticks.tick() => {}
        }
        for purged in client.purge(config.max_idle) {
            tracing::debug!(
                target: "dapr.runtime.grpc.manager",
                "Purged {} expired gRPC connection(s) to {}", purged.count, purged.address
            );
        }
    }
}
