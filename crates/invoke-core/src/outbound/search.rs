//! One attempt among the endpoints of an app.

use std::pin::pin;

use tokio::time::{Duration, Instant, timeout};

use super::attempt::Answer;
use crate::attempts::Run;
use crate::balance::{InFlight, Picked};
use crate::body::{Body, Replay};
use crate::error::{Cause, Fault, InvokeError};
use crate::ports::Resolver;
use crate::targets::Peer;

/// How many endpoints of an app one attempt tries that cannot be reached.
const MOST_TRIED: usize = 32;
/// So long after the first failure no further one is tried. Each may take as long as a connection may take to be made.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

/// What came of an attempt: an answer that counts as in flight until its body ends.
type Made<T> = Result<(T, InFlight), InvokeError>;

/// Where an attempt may go, and what it sends.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) peer: &'a Peer,
    pub(super) resolver: &'a dyn Resolver,
    pub(super) replay: &'a Replay,
}

impl Search<'_> {
    /// One attempt of a policy, which begins at this endpoint: a call that certainly nobody saw moves on to the next one
    /// at once.
    pub(super) async fn from<T: Answer, F>(self, first: Picked, send: impl Fn(&Picked, Body) -> F) -> Made<T>
    where
        F: Future<Output = Result<T, InvokeError>>,
    {
        let Self {
            peer,
            resolver,
            replay,
        } = self;
        let mut picked = first;
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
}

/// One attempt that is made at a second endpoint as well when the first takes long. The first answer that comes is the
/// answer, and the other attempt is dropped, which cancels it. A failure is no answer as long as the other may give one.
pub(super) async fn hedged<T: Answer, F, R: Run>(
    search: Search<'_>,
    first: Picked,
    send: impl Fn(&Picked, Body) -> F + Copy,
    run: &R,
) -> Made<T>
where
    F: Future<Output = Result<T, InvokeError>>,
{
    let used = [first.noted()];
    let mut one = pin!(search.from(first, send));
    let after = run.hedges_after().unwrap_or(Duration::MAX);
    if let Ok(made) = timeout(after, one.as_mut()).await {
        return made;
    }
    let Some(second) = search.peer.pick_other(&used).filter(|_| run.may_hedge()) else {
        return one.await;
    };
    drop(used);
    let mut other = pin!(search.from(second, send));
    tokio::select! {
        biased;
        made = one.as_mut() => match made {
            Ok(made) => Ok(made),
            Err(_) => other.await,
        },
        made = other.as_mut() => match made {
            Ok(made) => Ok(made),
            Err(_) => one.await,
        },
    }
}
