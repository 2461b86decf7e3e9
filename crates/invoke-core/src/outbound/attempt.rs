//! The loop that makes the attempts of a call, whichever way it goes.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};

use http::Response;
use http_body::{Body as _, Frame};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::messages::{Followed, Messages};
use crate::attempts::{Named, Outcome, Run, Verdict};
use crate::balance::{Endpoint, InFlight, Picked};
use crate::body::{Body, End, Replay};
use crate::error::{Cause, Fault, InvokeError, Seen, code};
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
    /// The status of an answer that stands in for an app that nobody could reach.
    fn unseen(&self) -> Option<i32>;

    /// Whether its head says nothing of a failure of the other side.
    fn is_success(&self) -> bool;

    /// The answer with its status, once that or a first message is there.
    fn with_status(self) -> impl Future<Output = (Self, Option<i32>)> + Send;

    /// The answer that the caller gets: its body must end in time, and the policy is told how it ended.
    fn last<R: Run>(self, deadline: Option<Instant>, run: R, messages: Option<Messages>) -> Self;
}

/// A call under a policy: what decides, what is sent, and what watches the messages of a proxied call.
pub(super) struct Judged<R> {
    pub(super) run: Option<R>,
    pub(super) replay: Replay,
    pub(super) messages: Option<Messages>,
}

/// Makes the attempts of a call. The answer that is returned is the commit: what was kept of the body is let go, and
/// nothing follows.
pub(super) async fn attempts<R: Run, W: Way>(call: Judged<R>, way: &W) -> Result<W::Answer, InvokeError> {
    let Judged {
        run,
        replay,
        messages,
    } = call;
    let Some(mut run) = run else {
        let answer = way.attempt(&replay).await?;
        replay.commit();
        return Ok(answer);
    };
    let not_unary = || InvokeError::new(Fault::Caller, Seen::Maybe, Cause::NotUnary);
    let are_too_many = || messages.as_ref().is_some_and(Messages::are_too_many);
    if are_too_many() {
        return Err(not_unary());
    }
    loop {
        let deadline = run.admit()?;
        // Where it lies it stays: a call must not carry room for it twice.
        let made = {
            let attempt = pin!(way.attempt(&replay));
            within(deadline, attempt).await
        };
        let outcome = match made {
            Ok(answer) if run.wants_status() => {
                within(deadline, pin!(async { Ok(answer.with_status().await) })).await
            }
            Ok(answer) => Ok((answer, None)),
            Err(_) if are_too_many() => Err(not_unary()),
            Err(error) => Err(error),
        };
        match (run.judge(told(&outcome)), outcome) {
            (Verdict::Again(pause), outcome) if replay.is_possible() => {
                run.repeats(told(&outcome), pause);
                // An answer is dropped only now that another attempt is certain.
                drop(outcome);
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
            (_, Ok((answer, _))) => {
                replay.commit();
                return Ok(answer.last(deadline, run, messages));
            }
            (_, Err(error)) => return Err(run.last_word(error)),
        }
    }
}

fn told<A: Answer>(outcome: &Result<(A, Option<i32>), InvokeError>) -> Outcome<'_> {
    match outcome {
        Ok((answer, status)) => answer
            .unseen()
            .map_or(Outcome::Answered(*status), Outcome::Unseen),
        Err(error) => Outcome::Failed(error),
    }
}

async fn within<T>(
    deadline: Option<Instant>,
    attempt: Pin<&mut impl Future<Output = Result<T, InvokeError>>>,
) -> Result<T, InvokeError> {
    let late = || InvokeError::new(Fault::Peer, Seen::Maybe, Cause::DeadlineExceeded);
    match deadline {
        None => attempt.await,
        // An attempt that begins after its end sends nothing.
        Some(deadline) if deadline <= Instant::now() => Err(late()),
        Some(deadline) => timeout_at(deadline, attempt)
            .await
            .unwrap_or_else(|_| Err(late())),
    }
}

/// Breaks a body that does not come to its end in time.
fn in_time(body: Body, deadline: Option<Instant>) -> Body {
    match deadline {
        Some(deadline) => body.until(deadline),
        None => body,
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
async fn one_after_the_other<T: Answer, F>(
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
        let sent = send(&picked, replay.attempt()).await;
        match &sent {
            Ok(answer) if answer.unseen().is_some() => {}
            Err(error) if error.is_unseen_by_peer() => {
                // A sidecar that has enough to do, or whose app is gone, is there: only this call goes elsewhere.
                if !error.is_refusal {
                    peer.unreachable(resolver, &picked);
                }
            }
            Ok(answer) => {
                let in_flight = picked.succeeded(answer.is_success());
                return sent.map(|answer| (answer, in_flight));
            }
            Err(_) => return sent.map(|answer| (answer, picked.succeeded(false))),
        }
        tried.push(picked);
        let since = *fails_since.get_or_insert_with(Instant::now);
        let is_enough = tried.len() >= MOST_TRIED || since.elapsed() >= LONGEST_SEARCH;
        let may_go_on = !is_enough && replay.is_possible();
        let other = may_go_on.then(|| peer.pick_other(&tried)).flatten();
        picked = match (other, sent) {
            (Some(other), _) => other,
            (None, Err(error)) => return Err(error),
            (None, Ok(answer)) => {
                let last = tried.pop().map(|last| last.succeeded(false));
                // There is a last one: it has just been put there.
                return last
                    .map(|in_flight| (answer, in_flight))
                    .ok_or_else(|| InvokeError::unsent(Fault::Us, Cause::NoResolver));
            }
        };
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
    fn unseen(&self) -> Option<i32> {
        self.is_unseen.then_some(self.status.code)
    }

    fn is_success(&self) -> bool {
        matches!(self.status.code, code::OK | 100..=499)
    }

    async fn with_status(self) -> (Self, Option<i32>) {
        let status = self.status.code;
        (self, Some(status))
    }

    fn last<R: Run>(mut self, deadline: Option<Instant>, run: R, _: Option<Messages>) -> Self {
        self.body = in_time(self.body, deadline);
        if run.wants_end() {
            self.body = self.body.on_end(move |end, _| run.ended(end, None));
        }
        self
    }
}

impl Answer for Response<Body> {
    fn unseen(&self) -> Option<i32> {
        None
    }

    fn is_success(&self) -> bool {
        status_in(self.headers()).is_none_or(|status| status == code::OK)
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

    fn last<R: Run>(self, deadline: Option<Instant>, run: R, messages: Option<Messages>) -> Self {
        let wants_end = run.wants_end();
        if !wants_end && messages.is_none() && deadline.is_none() {
            return self;
        }
        if self.body().is_end_stream() {
            // Its head said all.
            run.ended(End::Whole, status_in(self.headers()));
            return self;
        }
        let run = wants_end.then_some(run);
        self.map(|body| Body::stream(Followed::new(in_time(body, deadline), run, messages)))
    }
}
