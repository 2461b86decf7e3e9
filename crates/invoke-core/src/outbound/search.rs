//! One attempt among the endpoints of an app.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant, timeout};

use super::attempt::Answer;
use crate::attempts::Run;
use crate::balance::{Affinity, InFlight, Picked, Tried};
use crate::body::{Body, Replay};
use crate::error::InvokeError;
use crate::ports::Resolver;
use crate::targets::Peer;

/// How many endpoints of an app one attempt tries that cannot be reached.
const MOST_TRIED: usize = 32;
/// How many of them may have been out already, since all that were found are. Whoever has found out by so many that an app
/// is gone need not ask all the others: when thousands of sidecars do, those that come back get nothing else to do.
const MOST_LAST_RESORTS: usize = 8;
/// So long after the first failure no further one is tried. Each may take as long as a connection may take to be made.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

/// What came of an attempt: an answer that counts as in flight until its body ends.
type Made<T> = Result<(T, InFlight), InvokeError>;

/// Where an attempt may go, and what it sends.
pub(super) struct Search<'a> {
    peer: &'a Peer,
    resolver: &'a dyn Resolver,
    replay: &'a Replay,
    affinity: Option<Affinity>,
    /// Where it has been, and where it is at a second endpoint: nobody gets the same attempt twice.
    tried: Mutex<Vec<Tried>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        peer: &'a Peer,
        resolver: &'a dyn Resolver,
        replay: &'a Replay,
        affinity: Option<Affinity>,
    ) -> Self {
        Self {
            peer,
            resolver,
            replay,
            affinity,
            tried: Mutex::default(),
        }
    }

    fn tried(&self) -> MutexGuard<'_, Vec<Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An endpoint that was not tried. It is now.
    fn other(&self) -> Option<Picked> {
        let mut tried = self.tried();
        let other = self.peer.pick_other(self.affinity, &tried)?;
        tried.push(other.tried());
        Some(other)
    }

    /// One attempt of a policy, which begins at this endpoint: a call that certainly nobody saw moves on to the next one
    /// at once.
    pub(super) async fn from<T: Answer, F>(&self, first: Picked, send: impl Fn(&Picked, Body) -> F) -> Made<T>
    where
        F: Future<Output = Result<T, InvokeError>>,
    {
        let mut picked = first;
        let (mut failures, mut last_resorts, mut fails_since) = (0, 0, None);
        loop {
            let sent = send(&picked, self.replay.attempt()).await;
            match &sent {
                Ok(answer) if answer.unseen().is_some() => {}
                Err(error) if error.is_unseen_by_peer() => {
                    // A sidecar that has enough to do, or whose app is gone, is there: only this call goes elsewhere.
                    if !error.is_refusal {
                        self.peer.unreachable(self.resolver, &mut picked);
                    }
                }
                Ok(answer) => {
                    let in_flight = picked.succeeded(answer.is_success());
                    return sent.map(|answer| (answer, in_flight));
                }
                Err(_) => return sent.map(|answer| (answer, picked.succeeded(false))),
            }
            failures += 1;
            last_resorts += usize::from(picked.is_last_resort());
            // The list is for the second choice. Most calls need none, and do not pay for it.
            if failures == 1 {
                self.tried().push(picked.tried());
            }
            let since = *fails_since.get_or_insert_with(Instant::now);
            let are_enough = failures >= MOST_TRIED || last_resorts >= MOST_LAST_RESORTS;
            let is_over = are_enough || since.elapsed() >= LONGEST_SEARCH;
            let may_go_on = !is_over && self.replay.is_possible();
            picked = match (may_go_on.then(|| self.other()).flatten(), sent) {
                (Some(other), _) => other,
                (None, Err(error)) => return Err(error),
                (None, Ok(answer)) => return Ok((answer, picked.succeeded(false))),
            };
        }
    }

    /// One attempt that is made at a second endpoint as well when the first has taken so long. The first answer that comes
    /// is the answer, and the other attempt is dropped, which cancels it. A failure is no answer as long as the other may
    /// give one, and neither is that of a sidecar whose app has not seen the call.
    pub(super) async fn hedged<T: Answer, F>(
        &self,
        first: Picked,
        send: impl Fn(&Picked, Body) -> F + Copy,
        after: Duration,
        run: &impl Run,
    ) -> Made<T>
    where
        F: Future<Output = Result<T, InvokeError>>,
    {
        let begun_at = first.tried();
        let mut one = pin!(self.from(first, send));
        if let Ok(made) = timeout(after, one.as_mut()).await {
            return made;
        }
        // Only now: an attempt that needs no second endpoint allocates no list.
        self.tried().push(begun_at);
        let second = self.peer.pick_other(self.affinity, &self.tried());
        let Some(second) = second.filter(|_| run.may_hedge()) else {
            return one.await;
        };
        // Otherwise a failure of the first one would move on to where the second is under way.
        self.tried().push(second.tried());
        let mut other = pin!(self.from(second, send));
        let is_answer = |made: &Made<T>| made.as_ref().is_ok_and(|(answer, _)| answer.unseen().is_none());
        tokio::select! {
            biased;
            made = one.as_mut() => if is_answer(&made) { made } else { other.await },
            made = other.as_mut() => if is_answer(&made) { made } else { one.await },
        }
    }
}
