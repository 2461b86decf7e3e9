//! The loop that makes the attempts of a call, whichever way it goes.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;

use http::Response;
use http_body::{Body as _, Frame};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use crate::attempts::{Named, Outcome, Run, Verdict};
use crate::balance::{Endpoint, InFlight, Picked};
use crate::body::{Body, Replay};
use crate::error::{Cause, Fault, InvokeError, Seen};
use crate::id::AppId;
use crate::inbound::Inbound;
use crate::observe::{Call, Exchange, Observe, OpenExchange, status_in};
use crate::ports::{AppChannel, Authorize, Peers, Resolver};
use crate::reply::Reply;
use crate::targets::Peer;
use crate::{Head, ProxiedHead};

/// How many endpoints of an app one attempt tries that cannot be reached.
const MOST_TRIED: usize = 32;
/// So long after the first failure no further one is tried. Each may take as long as a connection may take to be made.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

/// Sends a call along one way.
pub(super) trait Way: Sync {
    /// What comes back.
    type Answer: Answer;

    /// One attempt.
    fn attempt(&self, replay: &Replay) -> impl Future<Output = Result<Self::Answer, InvokeError>> + Send;
}

/// What comes back on both roads.
pub(super) trait Answer: Sized + Send {
    fn map_body(self, change: impl FnOnce(Body) -> Body) -> Self;

    /// The answer with its status, once that or a first message is there.
    fn with_status(self) -> impl Future<Output = (Self, Option<i32>)> + Send;
}

/// Makes the attempts of a call. The answer that is returned is the commit: what was kept of the body is let go, and
/// nothing follows.
pub(super) async fn attempts<R: Run, W: Way>(
    run: Option<R>,
    replay: Replay,
    way: &W,
) -> Result<W::Answer, InvokeError> {
    let Some(mut run) = run else {
        let answer = way.attempt(&replay).await?;
        replay.commit();
        return Ok(answer);
    };
    loop {
        let deadline = run.admit()?;
        let outcome = match within(deadline, way.attempt(&replay)).await {
            Ok(answer) if run.wants_status() => {
                within(deadline, async { Ok(answer.with_status().await) }).await
            }
            Ok(answer) => Ok((answer, None)),
            Err(error) => Err(error),
        };
        let verdict = run.judge(match &outcome {
            Ok((_, status)) => Outcome::Answered(*status),
            Err(error) => Outcome::Failed(error),
        });
        match (verdict, outcome) {
            (Verdict::Again(pause), outcome) if replay.is_possible() => {
                if let Err(error) = &outcome {
                    run.repeats(error, pause);
                }
                // An answer is dropped only now that another attempt is certain.
                drop(outcome);
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
            (_, Ok((answer, _))) => {
                replay.commit();
                let follows = run.follow();
                return Ok(answer.map_body(|body| {
                    let body = match deadline {
                        Some(deadline) => body.until(deadline),
                        None => body,
                    };
                    match follows {
                        Some(told) => body.on_end(told),
                        None => body,
                    }
                }));
            }
            (_, Err(error)) => return Err(run.last_word(error)),
        }
    }
}

async fn within<T>(
    deadline: Option<Instant>,
    attempt: impl Future<Output = Result<T, InvokeError>>,
) -> Result<T, InvokeError> {
    match deadline {
        None => attempt.await,
        Some(deadline) => timeout_at(deadline, attempt).await.unwrap_or_else(|_| {
            Err(InvokeError::new(
                Fault::Peer,
                Seen::Maybe,
                Cause::DeadlineExceeded,
            ))
        }),
    }
}

/// The way to the sidecars of another app.
pub(super) struct ToPeer<'a, S, H, O: Observe> {
    pub(super) peers: &'a S,
    pub(super) resolver: &'a dyn Resolver,
    pub(super) peer: &'a Peer,
    pub(super) head: &'a H,
    pub(super) observer: &'a O,
    pub(super) meters: &'a O::Meters,
}

impl<S, H, O: Observe> ToPeer<'_, S, H, O> {
    fn begin(&self, to: &Endpoint, call: Call<'_>) -> OpenExchange<O::Ticket> {
        let exchange = Exchange::Attempt {
            target: Named::Peer(self.peer.app()),
            endpoint: Some(to),
            call,
        };
        OpenExchange::new(self.observer.begin(exchange, Some(self.meters)))
    }
}

impl<S: Peers, O: Observe> Way for ToPeer<'_, S, Head, O> {
    type Answer = Reply;

    async fn attempt(&self, replay: &Replay) -> Result<Reply, InvokeError> {
        let send = |picked: &Picked, body| {
            let to = picked.endpoint().clone();
            async move {
                let open = self.begin(&to, Call::Invoked(self.head));
                open.replied(self.peers.invoke(self.peer.app(), &to, self.head, body).await)
            }
        };
        let (mut reply, in_flight) = one_after_the_other(self.peer, self.resolver, replay, send).await?;
        reply.body = reply.body.counting(in_flight);
        Ok(reply)
    }
}

impl<S: Peers, O: Observe> Way for ToPeer<'_, S, ProxiedHead, O> {
    type Answer = Response<Body>;

    async fn attempt(&self, replay: &Replay) -> Result<Response<Body>, InvokeError> {
        let send = |picked: &Picked, body| {
            let to = picked.endpoint().clone();
            async move {
                let open = self.begin(&to, Call::Proxied(self.head));
                open.relayed(self.peers.proxy(self.peer.app(), &to, self.head, body).await)
            }
        };
        let (answer, in_flight) = one_after_the_other(self.peer, self.resolver, replay, send).await?;
        Ok(answer.map(|body| body.counting(in_flight)))
    }
}

/// One attempt of a policy: a call that certainly nobody saw moves on to the next endpoint at once.
async fn one_after_the_other<T, F>(
    peer: &Peer,
    resolver: &dyn Resolver,
    replay: &Replay,
    send: impl Fn(&Picked, Body) -> F,
) -> Result<(T, InFlight), InvokeError>
where
    F: Future<Output = Result<T, InvokeError>>,
{
    let mut picked = peer.pick(resolver).await?;
    let mut tried: Vec<Picked> = Vec::new();
    let mut fails_since = None;
    loop {
        let error = match send(&picked, replay.attempt()).await {
            Ok(sent) => return Ok((sent, picked.succeeded())),
            Err(error) => error,
        };
        if !error.is_unseen_by_peer() {
            return Err(error);
        }
        // A sidecar that has enough to do is there: only this call goes elsewhere.
        if !error.is_refusal {
            peer.unreachable(resolver, &picked);
        }
        if !replay.is_possible() {
            return Err(error);
        }
        tried.push(picked);
        let since = *fails_since.get_or_insert_with(Instant::now);
        let is_enough = tried.len() >= MOST_TRIED || since.elapsed() >= LONGEST_SEARCH;
        match peer.pick_other(&tried).filter(|_| !is_enough) {
            Some(other) => picked = other,
            None => return Err(error),
        }
    }
}

/// The way to an endpoint outside of the mesh.
pub(super) struct ToChannel<'a, C, O: Observe> {
    pub(super) channel: &'a C,
    pub(super) name: &'a str,
    pub(super) observer: &'a O,
    pub(super) meters: &'a O::Meters,
}

impl<C: AppChannel, O: Observe> ToChannel<'_, C, O> {
    pub(super) async fn invoke(&self, head: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        let exchange = Exchange::Attempt {
            target: Named::External(self.name),
            endpoint: None,
            call: Call::Invoked(&head),
        };
        let open = OpenExchange::new(self.observer.begin(exchange, Some(self.meters)));
        open.replied(self.channel.invoke(head, body).await)
    }
}

/// The same with a head that is lent to one attempt after the other.
pub(super) struct ToChannelAgain<'a, C, O: Observe> {
    pub(super) way: ToChannel<'a, C, O>,
    pub(super) head: &'a Head,
}

impl<C: AppChannel, O: Observe> Way for ToChannelAgain<'_, C, O> {
    type Answer = Reply;

    async fn attempt(&self, replay: &Replay) -> Result<Reply, InvokeError> {
        self.way.invoke(Cow::Borrowed(self.head), replay.attempt()).await
    }
}

/// The way to the app of this sidecar, which its own calls may take unasked.
pub(super) struct ToSelf<'a, A, P, O> {
    pub(super) inbound: &'a Inbound<A, P, O>,
    pub(super) head: &'a Head,
}

/// The same for proxied calls, each of whose attempts is seen.
pub(super) struct ProxyToSelf<'a, A, P, O: Observe> {
    pub(super) inbound: &'a Inbound<A, P, O>,
    pub(super) app: &'a AppId,
    pub(super) meters: &'a O::Meters,
}

impl<A: AppChannel, P: Authorize, O: Observe> ProxyToSelf<'_, A, P, O> {
    pub(super) async fn proxy(
        &self,
        head: Cow<'_, ProxiedHead>,
        body: Body,
    ) -> Result<Response<Body>, InvokeError> {
        let exchange = Exchange::Attempt {
            target: Named::Own(self.app),
            endpoint: None,
            call: Call::Proxied(&head),
        };
        let open = OpenExchange::new(self.inbound.observer().begin(exchange, Some(self.meters)));
        open.relayed(self.inbound.proxy_for_self(head, body).await)
    }
}

/// The same with a head that is lent to one attempt after the other.
pub(super) struct ProxyToSelfAgain<'a, A, P, O: Observe> {
    pub(super) way: ProxyToSelf<'a, A, P, O>,
    pub(super) head: &'a ProxiedHead,
}

impl<A: AppChannel, P: Authorize, O: Observe> Way for ToSelf<'_, A, P, O> {
    type Answer = Reply;

    async fn attempt(&self, replay: &Replay) -> Result<Reply, InvokeError> {
        self.inbound
            .invoke_for_self(Cow::Borrowed(self.head), replay.attempt())
            .await
    }
}

impl<A: AppChannel, P: Authorize, O: Observe> Way for ProxyToSelfAgain<'_, A, P, O> {
    type Answer = Response<Body>;

    async fn attempt(&self, replay: &Replay) -> Result<Response<Body>, InvokeError> {
        self.way.proxy(Cow::Borrowed(self.head), replay.attempt()).await
    }
}

impl Answer for Reply {
    fn map_body(mut self, change: impl FnOnce(Body) -> Body) -> Self {
        self.body = change(self.body);
        self
    }

    async fn with_status(self) -> (Self, Option<i32>) {
        let status = self.status.code;
        (self, Some(status))
    }
}

impl Answer for Response<Body> {
    fn map_body(self, change: impl FnOnce(Body) -> Body) -> Self {
        self.map(change)
    }

    async fn with_status(mut self) -> (Self, Option<i32>) {
        if let Some(status) = status_in(self.headers()) {
            return (self, Some(status));
        }
        let Some(frame) = poll_fn(|cx| Pin::new(self.body_mut()).poll_frame(cx)).await else {
            return (self, None);
        };
        let trailers = frame.as_ref().ok().and_then(Frame::trailers_ref);
        let status = trailers.and_then(status_in);
        let answer = self.map(|body| body.preceded_by(frame));
        (answer, status)
    }
}
