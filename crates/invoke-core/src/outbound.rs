//! The use case of the caller's side: where a call goes, and how hard to try.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::balance::{Directory, Endpoint, Picked};
use crate::body::{Body, Replay};
use crate::error::{Cause, Fault, InvokeError, Seen, code};
use crate::headers::Identity;
use crate::id::{AppRef, Target};
use crate::inbound::Inbound;
use crate::invocation::{Head, Invocation};
use crate::ports::{AppChannel, Authorize, ExternalEndpoints, Invoke, Peers};
use crate::reply::{Reply, Route};

/// How hard to try when no resiliency policy names the target.
#[derive(Clone, Copy, Debug)]
pub struct OutboundSettings {
    /// How many attempts may follow the first when the other sidecar is unavailable.
    pub retries: u32,
    /// The pause before each of them.
    pub pause: Duration,
    /// How many bytes of a body of known length are kept for another attempt.
    pub replay_bound: u64,
}

impl Default for OutboundSettings {
    /// Three retries, a second apart, as Dapr's built-in policy has it; 64 KiB of replay.
    fn default() -> Self {
        Self {
            retries: 3,
            pause: Duration::from_secs(1),
            replay_bound: 64 * 1024,
        }
    }
}

/// Sends calls to the app itself, to other sidecars and to external endpoints.
#[derive(Debug)]
pub struct Outbound<A, P, S, X> {
    identity: Arc<Identity>,
    inbound: Arc<Inbound<A, P>>,
    peers: S,
    external: X,
    /// `None` when no name resolver could be set up.
    directory: Option<Arc<Directory>>,
    settings: OutboundSettings,
}

impl<A, P, S, X> Outbound<A, P, S, X>
where
    A: AppChannel,
    P: Authorize,
    S: Peers,
    X: ExternalEndpoints,
{
    /// Puts the parts together. Without a directory every call to another app fails with
    /// [`Cause::NoResolver`]; the app itself and external endpoints need none.
    pub fn new(
        identity: Arc<Identity>,
        inbound: Arc<Inbound<A, P>>,
        peers: S,
        external: X,
        directory: Option<Arc<Directory>>,
        settings: OutboundSettings,
    ) -> Self {
        Self {
            identity,
            inbound,
            peers,
            external,
            directory,
            settings,
        }
    }

    async fn to_app(
        &self,
        id: &str,
        namespace: Option<&str>,
        call: Invocation,
    ) -> Result<Reply, InvokeError> {
        if let Some(channel) = self.external.named(id) {
            return external(&channel, call).await;
        }
        let own_namespace = self.identity.namespace();
        let in_own_namespace = namespace.is_none_or(|namespace| namespace == own_namespace.as_str());
        if in_own_namespace && id == self.identity.app_id().as_str() {
            return self.to_self(call).await;
        }
        let namespace = namespace.map_or_else(|| own_namespace.clone(), Into::into);
        self.to_peer(
            AppRef {
                id: id.into(),
                namespace,
            },
            call,
        )
        .await
    }

    async fn to_self(&self, mut call: Invocation) -> Result<Reply, InvokeError> {
        self.identity.stamp_local(&mut call.head.headers);
        let mut reply = self.inbound.from_self(call).await?;
        reply.route = Route::Local;
        Ok(reply)
    }

    async fn to_peer(&self, app: AppRef, mut call: Invocation) -> Result<Reply, InvokeError> {
        let Some(directory) = self.directory.as_deref() else {
            return Err(InvokeError::unsent(Fault::Us, Cause::NoResolver));
        };
        self.identity.stamp_remote(&mut call.head.headers, &app.id);
        let streaming = !call.body.has_known_length();
        let bound = if streaming { 0 } else { self.settings.replay_bound };
        let replay = Replay::new(call.body, bound);
        let retries = if streaming { 0 } else { self.settings.retries };
        for attempt in 0.. {
            let error = match self.attempt(directory, &app, &call.head, &replay).await {
                Ok(reply) => {
                    replay.commit();
                    return Ok(reply);
                }
                Err(error) => error,
            };
            let retryable = !streaming && is_unavailable(&error);
            if !retryable {
                return Err(error);
            }
            if attempt >= retries || !replay.is_possible() {
                return Err(exhausted(&app, attempt, error));
            }
            tracing::debug!(
                target: "dapr.runtime.direct_messaging",
                "call to {app} failed, trying again in {:?}: {error}", self.settings.pause
            );
            sleep(self.settings.pause).await;
        }
        unreachable!("the loop ends by returning")
    }

    /// One attempt of the policy: a call that certainly nobody saw moves on to the next endpoint at once.
    async fn attempt(
        &self,
        directory: &Directory,
        app: &AppRef,
        head: &Head,
        replay: &Replay,
    ) -> Result<Reply, InvokeError> {
        let mut picked = directory.pick(app).await?;
        let mut tried: Vec<Endpoint> = Vec::new();
        loop {
            let error = match self.send(app, head, replay.attempt(), picked).await {
                Ok(reply) => return Ok(reply),
                Err((error, failed)) => {
                    if error.seen == Seen::No && error.fault == Fault::Peer {
                        directory.unreachable(app, &failed);
                        tried.push(failed.endpoint().clone());
                    }
                    error
                }
            };
            if tried.is_empty() || !replay.is_possible() {
                return Err(error);
            }
            match directory.pick_other(app, &tried) {
                Some(other) => picked = other,
                None => return Err(error),
            }
        }
    }

    async fn send(
        &self,
        app: &AppRef,
        head: &Head,
        body: Body,
        picked: Picked,
    ) -> Result<Reply, (InvokeError, Picked)> {
        match self.peers.invoke(app, picked.endpoint(), head, body).await {
            Ok(mut reply) => {
                reply.route = Route::Remote;
                reply.body = reply.body.counting(picked.succeeded());
                Ok(reply)
            }
            Err(error) => Err((error, picked)),
        }
    }
}

impl<A, P, S, X> Invoke for Outbound<A, P, S, X>
where
    A: AppChannel,
    P: Authorize,
    S: Peers,
    X: ExternalEndpoints,
{
    async fn invoke(&self, target: &str, call: Invocation) -> Result<Reply, InvokeError> {
        match Target::parse(target)? {
            Target::Url(url) => external(&self.external.url(url)?, call).await,
            Target::App { id, namespace } => self.to_app(id, namespace, call).await,
        }
    }
}

async fn external<C: AppChannel>(channel: &C, call: Invocation) -> Result<Reply, InvokeError> {
    let mut reply = channel.invoke(call).await?;
    reply.route = Route::External;
    Ok(reply)
}

fn is_unavailable(error: &InvokeError) -> bool {
    matches!(&error.cause, Cause::Rpc(status) if matches!(status.code, code::UNAVAILABLE | code::UNAUTHENTICATED))
}

fn exhausted(app: &AppRef, retries: u32, error: InvokeError) -> InvokeError {
    let app = app.id.as_str().to_owned();
    InvokeError {
        cause: Cause::Exhausted {
            app,
            retries,
            last: Box::new(error.cause),
        },
        ..error
    }
}

#[cfg(test)]
mod tests;
