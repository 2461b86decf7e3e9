//! The use case of the caller's side: where a call goes, and how hard to try.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::time::sleep;

use crate::balance::{Directory, Endpoint, InFlight, Picked};
use crate::body::{Body, Replay};
use crate::error::{Cause, Fault, InvokeError, code};
use crate::headers::Identity;
use crate::id::{AppRef, Target};
use crate::inbound::Inbound;
use crate::invocation::Invocation;
use crate::ports::{AppChannel, Authorize, ExternalEndpoints, Invoke, Peers};
use crate::proxied::Proxied;
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
            // These ways are in boxes: most calls go another way, and need not make room for them.
            return Box::pin(external(&channel, call)).await;
        }
        if self.inbound.is_own(id, namespace) {
            return Box::pin(self.to_self(call)).await;
        }
        self.to_peer(self.app(id, namespace), call).await
    }

    fn app(&self, id: &str, namespace: Option<&str>) -> AppRef {
        AppRef {
            id: id.into(),
            namespace: namespace.map_or_else(|| self.identity.namespace().clone(), Into::into),
        }
    }

    async fn to_self(&self, mut call: Invocation) -> Result<Reply, InvokeError> {
        self.identity.stamp_local(&mut call.head.headers);
        let mut reply = self.inbound.from_self(call).await?;
        reply.route = Route::Local;
        Ok(reply)
    }

    async fn to_peer(&self, app: AppRef, mut call: Invocation) -> Result<Reply, InvokeError> {
        let directory = self.directory()?;
        self.identity.stamp_remote(&mut call.head.headers, &app.id);
        let streaming = !call.body.has_known_length();
        let bound = if streaming { 0 } else { self.settings.replay_bound };
        let replay = Replay::new(call.body, bound);
        let retries = if streaming { 0 } else { self.settings.retries };
        let (peers, target, head) = (&self.peers, &app, &call.head);
        let send = |to: Endpoint, body| async move { peers.invoke(target, &to, head, body).await };
        for attempt in 0.. {
            let sent = attempt_once(directory, target, &replay, send).await;
            let error = match sent {
                Ok((mut reply, in_flight)) => {
                    replay.commit();
                    reply.route = Route::Remote;
                    reply.body = reply.body.counting(in_flight);
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

    /// A proxied call is never tried again once anybody may have seen it: nobody here knows what it does.
    async fn proxy_to_peer(&self, app: AppRef, call: Proxied) -> Result<Response<Body>, InvokeError> {
        let directory = self.directory()?;
        let Proxied { mut head, body } = call;
        self.identity.stamp_proxied(&mut head.headers, &app.id);
        let replay = Replay::new(body, 0);
        let (peers, target, head) = (&self.peers, &app, &head);
        let send = |to: Endpoint, body| async move { peers.proxy(target, &to, head, body).await };
        let (answer, in_flight) = match attempt_once(directory, target, &replay, send).await {
            // The one sidecar there is went away as the call came, or just came back at another address.
            Err(error)
                if error.is_unseen_by_peer()
                    && matches!(error.cause, Cause::Rpc(_))
                    && replay.is_possible() =>
            {
                attempt_once(directory, target, &replay, send).await?
            }
            other => other?,
        };
        replay.commit();
        Ok(answer.map(|body| body.counting(in_flight)))
    }

    fn directory(&self) -> Result<&Directory, InvokeError> {
        self.directory
            .as_deref()
            .ok_or_else(|| InvokeError::unsent(Fault::Us, Cause::NoResolver))
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
            Target::Url(url) => Box::pin(external(&self.external.url(url)?, call)).await,
            Target::App { id, namespace } => self.to_app(id, namespace, call).await,
        }
    }

    async fn proxy(&self, target: &str, mut call: Proxied) -> Result<Response<Body>, InvokeError> {
        match Target::parse(target)? {
            Target::Url(url) => {
                let text = format!("a gRPC call cannot be proxied to the address {url}");
                Err(InvokeError::unsent(
                    Fault::Caller,
                    Cause::App { text, source: None },
                ))
            }
            Target::App { id, namespace } if self.inbound.is_own(id, namespace) => {
                let own = self.identity.app_id();
                self.identity.stamp_proxied(&mut call.head.headers, own);
                Box::pin(self.inbound.proxy_from_self(call)).await
            }
            Target::App { id, namespace } => self.proxy_to_peer(self.app(id, namespace), call).await,
        }
    }
}

/// One attempt of the policy: a call that certainly nobody saw moves on to the next endpoint at once.
async fn attempt_once<T, F>(
    directory: &Directory,
    app: &AppRef,
    replay: &Replay,
    send: impl Fn(Endpoint, Body) -> F,
) -> Result<(T, InFlight), InvokeError>
where
    F: Future<Output = Result<T, InvokeError>>,
{
    let mut picked = directory.pick(app).await?;
    let mut tried: Vec<Picked> = Vec::new();
    loop {
        let error = match send(picked.endpoint().clone(), replay.attempt()).await {
            Ok(sent) => return Ok((sent, picked.succeeded())),
            Err(error) => error,
        };
        if !error.is_unseen_by_peer() {
            return Err(error);
        }
        // A sidecar that has enough to do is there: only this call goes elsewhere.
        if !error.is_refusal {
            directory.unreachable(app, &picked);
        }
        if !replay.is_possible() {
            return Err(error);
        }
        tried.push(picked);
        match directory.pick_other(app, &tried) {
            Some(other) => picked = other,
            None => return Err(error),
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
