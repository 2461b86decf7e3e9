//! What the operator pushes when resources change.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use dapr_proto::operator::{
    ComponentUpdateEvent, ComponentUpdateRequest, ConfigurationUpdateEvent, ConfigurationUpdateRequest,
    HttpEndpointUpdateEvent, HttpEndpointUpdateRequest, ResiliencyUpdateEvent, ResiliencyUpdateRequest,
    ResourceEventType,
};
use grpc_wire::{GrpcStatus, Messages};
use invoke_core::error::code;
use prost::Message;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use crate::client::Operator;

/// As Dapr's.
const SCOPE: &str = "dapr.runtime.hotreload.loader.operator";
/// The first pause before a stream is opened again, and the longest. Each is half as long again as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// A stream that lasted so long was a good one: the next is opened at once.
const GOOD: Duration = Duration::from_secs(1);
/// Until the operator tells of changes after it was asked to.
const SETTLED: Duration = Duration::from_secs(1);

/// A kind of resource that the operator tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Components.
    Component,
    /// HTTP endpoints.
    HttpEndpoint,
    /// The configuration of this sidecar.
    Configuration,
    /// Resiliency policies.
    Resiliency,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Component,
        Self::Configuration,
        Self::HttpEndpoint,
        Self::Resiliency,
    ];

    /// As it is written in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Component => "Component",
            Self::HttpEndpoint => "HTTPEndpoint",
            Self::Configuration => "Configuration",
            Self::Resiliency => "Resiliency",
        }
    }
}

/// What became of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, or is as it is now.
    Set,
    /// It is gone, or no longer for this sidecar.
    Deleted,
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// A resource changed; this is its JSON.
    Changed(Kind, Change, Bytes),
    /// Something may have changed that was not told: the stream was opened just now, for the first time or again.
    Listening(Kind),
}

impl Operator {
    /// Tells of the changes of a kind, for ever, or until nobody listens. What goes wrong is in the log.
    pub async fn watch(&self, kind: Kind, namespace: &str, events: &Sender<Event>) {
        let mut pause = PAUSES.0;
        loop {
            let begun = Instant::now();
            match self.followed(kind, namespace, events).await {
                Ended::Unheard => return,
                Ended::Unknown => {
                    let name = kind.name();
                    tracing::warn!(
                        target: SCOPE,
                        "{name} HotReloading is not supported by the Dapr control plane. {name} updates will not be Hot Reloaded."
                    );
                    return;
                }
                Ended::Broken(why) => tracing::error!(target: SCOPE, "Error from operator stream: {why}"),
            }
            if begun.elapsed() >= GOOD {
                pause = PAUSES.0;
            } else {
                pause = rest(pause).await;
            }
            while let Err(why) = self.connected().await {
                tracing::error!(target: SCOPE, "Failed to establish stream: {why}");
                if events.is_closed() {
                    return;
                }
                pause = rest(pause).await;
            }
            tracing::info!(target: SCOPE, "Reconnected to operator");
            if events.send(Event::Listening(kind)).await.is_err() {
                return;
            }
        }
    }

    /// Follows a stream. What changed between a list and the moment in which the operator began to tell of changes was in
    /// neither of them; the operator does not say when it begun, so a moment later all is to be listed once more.
    async fn followed(&self, kind: Kind, namespace: &str, events: &Sender<Event>) -> Ended {
        let mut follow = pin!(self.follow(kind, namespace, events));
        tokio::select! {
            ended = &mut follow => return ended,
            () = sleep(SETTLED) => {}
        }
        if events.send(Event::Listening(kind)).await.is_err() {
            return Ended::Unheard;
        }
        follow.await
    }

    async fn follow(&self, kind: Kind, namespace: &str, events: &Sender<Event>) -> Ended {
        let mut messages = match self.opened(kind, namespace.to_owned()).await {
            Ok(messages) => messages,
            Err(status) => return Ended::of(status),
        };
        loop {
            let message = match messages.next().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ended::Broken("EOF".to_owned()),
                Err(status) => return Ended::of(status),
            };
            let Ok((change, resource)) = event(kind, message) else {
                return Ended::Broken("a message that is none".to_owned());
            };
            let change = if change == i32::from(ResourceEventType::Deleted) {
                Change::Deleted
            } else {
                Change::Set
            };
            if events.send(Event::Changed(kind, change, resource)).await.is_err() {
                return Ended::Unheard;
            }
        }
    }

    async fn opened(&self, kind: Kind, namespace: String) -> Result<Messages, GrpcStatus> {
        match kind {
            Kind::Component => {
                let request = ComponentUpdateRequest { namespace };
                self.stream("ComponentUpdate", &request).await
            }
            Kind::HttpEndpoint => {
                let request = HttpEndpointUpdateRequest { namespace };
                self.stream("HTTPEndpointUpdate", &request).await
            }
            Kind::Configuration => {
                let request = ConfigurationUpdateRequest { namespace };
                self.stream("ConfigurationUpdate", &request).await
            }
            Kind::Resiliency => {
                let request = ResiliencyUpdateRequest { namespace };
                self.stream("ResiliencyUpdate", &request).await
            }
        }
    }
}

/// Why a stream ended.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// The operator is older than this kind of stream.
    Unknown,
    Broken(String),
}

impl Ended {
    fn of(status: GrpcStatus) -> Self {
        if status.code == code::UNIMPLEMENTED {
            return Self::Unknown;
        }
        Self::Broken(format!(
            "rpc error: code = {} desc = {}",
            status.code, status.message
        ))
    }
}

/// The type and the resource of an event.
fn event(kind: Kind, message: Bytes) -> Result<(i32, Bytes), prost::DecodeError> {
    Ok(match kind {
        Kind::Component => {
            let event = ComponentUpdateEvent::decode(message)?;
            (event.r#type, event.component)
        }
        Kind::HttpEndpoint => {
            let event = HttpEndpointUpdateEvent::decode(message)?;
            (event.r#type, event.http_endpoints)
        }
        Kind::Configuration => {
            let event = ConfigurationUpdateEvent::decode(message)?;
            (event.r#type, event.configuration)
        }
        Kind::Resiliency => {
            let event = ResiliencyUpdateEvent::decode(message)?;
            (event.r#type, event.resiliency)
        }
    })
}

/// Waits, so that an operator that starts is not asked by all its sidecars at once; gives the next pause.
async fn rest(pause: Duration) -> Duration {
    sleep(pause.mul_f64(fastrand::f64() + 0.5)).await;
    pause.mul_f64(1.5).min(PAUSES.1)
}
