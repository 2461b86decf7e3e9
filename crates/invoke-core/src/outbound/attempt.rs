//! The loop that makes the attempts of a call, whichever way it goes.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};

use http::Response;
use http_body::{Body as _, Frame};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::messages::{Followed, Messages};
use super::search::Search;
use crate::attempts::{Named, Outcome, Run, Verdict};
use crate::balance::{Affinity, Endpoint, Picked};
use crate::body::{Body, End, Replay};
use crate::error::{Cause, Delivery, Fault, InvokeError, code};
use crate::id::AppId;
use crate::inbound::Inbound;
use crate::observe::{Call, Exchange, Observe, OpenExchange, status_in};
use crate::ports::{AppChannel, Authorize, Peers, Resolver};
use crate::pushback::Pushback;
use crate::reply::Reply;
use crate::targets::Peer;
use crate::{Head, ProxiedHead, Unseen};

/// By so much the other side may be early when the time of an attempt ends.
const CLOCKS: Duration = Duration::from_millis(5);

/// Sends a call along one way.
pub(super) trait Way: Sync {
    /// What comes back.
    type Answer: Answer;

    /// One attempt, whose time ends at `until`. `run` is the policy that it is made under, if there is one.
    fn attempt<R: Run>(
        &self,
        replay: &Replay,
        until: Option<Instant>,
        run: Option<&R>,
    ) -> impl Future<Output = Result<Self::Answer, InvokeError>> + Send;
}

/// What comes back on both roads.
pub(super) trait Answer: Sized + Send {
    /// The status of an answer that stands in for an app that nobody could reach.
    fn unseen(&self) -> Option<i32>;

    /// Whether its head says nothing of a failure of the other side.
    fn is_success(&self) -> bool;

    /// The answer with its status, once that or a first message is there, and what it says of another attempt if
    /// somebody wants to know.
    fn with_status(
        self,
        wants_pushback: bool,
    ) -> impl Future<Output = (Self, Option<i32>, Option<Pushback>)> + Send;

    /// The answer that the caller gets: its body must end in time, and the policy is told how it ended.
    fn last<R: Run>(self, deadline: Option<Instant>, run: R, messages: Option<Messages>) -> Self;
}

/// A call under a policy: what decides, what is sent, and what watches the messages of a proxied call.
pub(super) struct Judged<R> {
    pub(super) run: Option<R>,
    pub(super) replay: Replay,
    pub(super) messages: Option<Messages>,
    /// When the caller stops waiting.
    pub(super) end: Option<Instant>,
}

/// Makes the attempts of a call. The answer that is returned is the commit: what was kept of the body is let go, and
/// nothing follows.
pub(super) async fn attempts<R: Run, W: Way>(call: Judged<R>, way: &W) -> Result<W::Answer, InvokeError> {
    let Judged {
        run,
        replay,
        messages,
        end,
    } = call;
    // Most calls are under no policy. They pay for nothing of what follows.
    let Some(mut run) = run else {
        let answer = way.attempt::<R>(&replay, None, None).await?;
        replay.commit();
        return Ok(answer);
    };
    let not_unary = || InvokeError::new(Fault::Caller, Delivery::Maybe, Cause::NotUnary);
    let are_too_many = || messages.as_ref().is_some_and(Messages::are_too_many);
    if are_too_many() {
        return Err(not_unary());
    }
    loop {
        let deadline = run.admit()?;
        // Where it lies it stays: a call must not carry room for it twice.
        let made = {
            let attempt = pin!(way.attempt(&replay, deadline, Some(&run)));
            within(deadline, attempt).await
        };
        let outcome = match made {
            Ok(answer) if run.wants_status() => {
                let wants_pushback = run.wants_pushback();
                let status = pin!(async { Ok(answer.with_status(wants_pushback).await) });
                match within(deadline, status).await {
                    // The other side knows when the time of the attempt ends, and was first to tell.
                    Ok((_, Some(code::DEADLINE_EXCEEDED), _)) if is_over(deadline) => Err(late()),
                    Ok((answer, status, pushback)) => {
                        if let Some(pushback) = pushback {
                            run.pushed_back(pushback);
                        }
                        Ok((answer, status))
                    }
                    Err(error) => Err(error),
                }
            }
            Ok(answer) => Ok((answer, None)),
            // The head of the call carries the same time limit, so the other side may end the attempt first. It is our
            // limit that ended it all the same, and the policy must not count a failure of the app.
            Err(error) if error.rpc_code() == Some(code::DEADLINE_EXCEEDED) && is_over(deadline) => {
                Err(late())
            }
            // The body was broken off on purpose, at its second message. The error that came of it would mislead.
            Err(_) if are_too_many() => Err(not_unary()),
            Err(error) => Err(error),
        };
        match (run.judge(told(&outcome)), outcome) {
            (Verdict::Again(pause), outcome) if replay.is_possible() && is_in_time(pause, end) => {
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

/// Whether somebody still waits when a pause is over. Nobody is helped by one that ends later: what there is to say of
/// the call is known now.
fn is_in_time(pause: Duration, end: Option<Instant>) -> bool {
    end.is_none_or(|end| pause < end.saturating_duration_since(Instant::now()))
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
    match deadline {
        None => attempt.await,
        // An attempt that begins after its end sends nothing.
        Some(deadline) if deadline <= Instant::now() => Err(late()),
        Some(deadline) => timeout_at(deadline, attempt)
            .await
            .unwrap_or_else(|_| Err(late())),
    }
}

/// The time of an attempt is over.
fn late() -> InvokeError {
    InvokeError::new(Fault::Peer, Delivery::Maybe, Cause::DeadlineExceeded)
}

/// Whether the time of an attempt is over, or as good as over: the clocks of both sides are not the same.
fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline.saturating_duration_since(Instant::now()) <= CLOCKS)
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
    /// By what the call goes where others go.
    pub(super) affinity: Option<Affinity>,
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

    async fn attempt<R: Run>(
        &self,
        replay: &Replay,
        until: Option<Instant>,
        run: Option<&R>,
    ) -> Result<Reply, InvokeError> {
        let until = until.map(Instant::into_std);
        let send = |picked: &Picked, body| {
            let to = picked.endpoint().clone();
            async move {
                let open = self.begin(&to, Call::Invoked(self.head));
                let app = self.peer.app();
                open.replied(self.peers.invoke(app, &to, self.head, until, body).await)
            }
        };
        let search = Search::new(self.peer, self.resolver, replay, self.affinity);
        let first = self.peer.pick(self.resolver, self.affinity).await?;
        // Two attempts at once need the body twice; a stream can be lent to one of them only.
        let run = run.filter(|_| replay.is_at_hand());
        let answered = match run.and_then(|run| Some((run, run.hedges_after()?))) {
            // Rare, and large: a call must not carry room for it.
            Some((run, after)) => Box::pin(search.hedged(first, send, after, run)).await,
            None => search.from(first, send).await,
        };
        let (mut reply, in_flight) = answered?;
        // An answer that is read slowly is load, too: the call counts at its endpoint to the end of the body.
        reply.body = reply.body.counting(in_flight);
        Ok(reply)
    }
}

impl<S: Peers, O: Observe> Way for ToPeer<'_, S, ProxiedHead, O> {
    type Answer = Response<Body>;

    async fn attempt<R: Run>(
        &self,
        replay: &Replay,
        until: Option<Instant>,
        _: Option<&R>,
    ) -> Result<Response<Body>, InvokeError> {
        let until = until.map(Instant::into_std);
        let send = |picked: &Picked, body| {
            let to = picked.endpoint().clone();
            async move {
                let open = self.begin(&to, Call::Proxied(self.head));
                let app = self.peer.app();
                open.relayed(self.peers.proxy(app, &to, self.head, until, body).await)
            }
        };
        let search = Search::new(self.peer, self.resolver, replay, self.affinity);
        let first = self.peer.pick(self.resolver, self.affinity).await?;
        let (answer, in_flight) = search.from(first, send).await?;
        Ok(answer.map(|body| body.counting(in_flight)))
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

    async fn attempt<R: Run>(
        &self,
        replay: &Replay,
        _: Option<Instant>,
        _: Option<&R>,
    ) -> Result<Reply, InvokeError> {
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

    async fn attempt<R: Run>(
        &self,
        replay: &Replay,
        _: Option<Instant>,
        _: Option<&R>,
    ) -> Result<Reply, InvokeError> {
        self.inbound
            .invoke_for_self(Cow::Borrowed(self.head), replay.attempt())
            .await
    }
}

impl<A: AppChannel, P: Authorize, O: Observe> Way for ProxyToSelfAgain<'_, A, P, O> {
    type Answer = Response<Body>;

    async fn attempt<R: Run>(
        &self,
        replay: &Replay,
        _: Option<Instant>,
        _: Option<&R>,
    ) -> Result<Response<Body>, InvokeError> {
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

    async fn with_status(self, wants_pushback: bool) -> (Self, Option<i32>, Option<Pushback>) {
        let status = self.status.code;
        let said = || Pushback::of(&self.trailers).or_else(|| Pushback::of(&self.headers));
        let pushback = wants_pushback.then(said).flatten();
        (self, Some(status), pushback)
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
        let is_unseen = self.extensions().get::<Unseen>().is_some();
        is_unseen.then(|| status_in(self.headers())).flatten()
    }

    fn is_success(&self) -> bool {
        status_in(self.headers()).is_none_or(|status| status == code::OK)
    }

    async fn with_status(mut self, wants_pushback: bool) -> (Self, Option<i32>, Option<Pushback>) {
        let pushback = |headers| wants_pushback.then(|| Pushback::of(headers)).flatten();
        if let Some(status) = status_in(self.headers()) {
            let pushback = pushback(self.headers());
            return (self, Some(status), pushback);
        }
        let Some(frame) = poll_fn(|cx| Pin::new(self.body_mut()).poll_frame(cx)).await else {
            return (self, None, None);
        };
        let trailers = frame.as_ref().ok().and_then(Frame::trailers_ref);
        let (status, pushback) = (trailers.and_then(status_in), trailers.and_then(pushback));
        let answer = self.map(|body| body.preceded_by(frame));
        (answer, status, pushback)
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
