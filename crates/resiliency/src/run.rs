//! One call under a policy.
//!
//! The parts nest: a retry around a circuit breaker around a time limit around the call, which may itself be tried
//! again by the retry that is built in. An *outer* attempt is one pass of the retry: it asks the breaker and has a time
//! limit of its own, however often the built-in retry sends within it.

use std::sync::Arc;
use std::time::Duration;

use go_text::format_duration;
use invoke_core::attempts::{CallFacts, Outcome, Road, Run, Verdict};
use invoke_core::error::code;
use invoke_core::{Cause, Delivery, End, Fault, InvokeError, Pushback, Verb};
use tokio::time::Instant;

use crate::SCOPE;
use crate::breaker::{Breaker, Permit, Refused};
use crate::budget::Budget;
use crate::hedge::Hedge;
use crate::observer::{Part, Told};
use crate::policies::TargetPolicy;
use crate::retry::Backoff;

/// One call under a policy.
#[derive(Debug)]
pub struct PolicyRun {
    policy: Arc<TargetPolicy>,
    road: Road,
    is_streaming: bool,
    /// The method, for the log; kept only where it may be written.
    method: Box<[u8]>,
    breaker: Option<Arc<Breaker>>,
    backoff: Backoff,
    /// How many outer attempts began.
    attempts: u32,
    outer: Outer,
    next: Next,
    is_retried: bool,
    is_late: bool,
    /// When all attempts must be over.
    end: Option<Instant>,
    /// What the last answer said of another attempt, if the policy listens.
    pushback: Option<Pushback>,
    /// The verb of an invocation: by it calls are hedged.
    verb: Option<Verb>,
}

/// The outer attempt that is being made.
#[derive(Debug, Default)]
struct Outer {
    deadline: Option<Instant>,
    /// When it began, if somebody wants to know how long answers take.
    begun: Option<Instant>,
    probe: Option<Probe>,
    built_in: Option<BuiltIn>,
}

#[derive(Debug)]
struct BuiltIn {
    run: invoke_core::attempts::BuiltInRun,
    backoff: Backoff,
    /// Whether the attempt that follows is a retry by the policy, and not the same call that begins anew.
    is_retry: bool,
}

/// What the next attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A new outer one.
    Outer,
    /// The built-in retry of the same outer one.
    Inner,
}

/// What came of an outer attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Result {
    Success,
    /// It failed, and may be tried again.
    Failure,
    /// It failed, and nothing would become of another attempt.
    Final,
    /// It says nothing about the target.
    Neutral,
}

impl PolicyRun {
    pub(crate) fn new(policy: Arc<TargetPolicy>, call: CallFacts<'_>) -> Self {
        let breaker = policy.breaker(&call);
        if policy.timeout.is_counted {
            policy.told.executed(Part::Timeout);
        }
        if policy.retry.is_some() {
            policy.told.executed(Part::Retry);
        }
        if let Some(breaker) = &breaker {
            let state = breaker.state(Instant::now());
            policy.told.executed(Part::CircuitBreaker(state));
            policy.told.breaker_state(state);
        }
        for budget in [&policy.budget, &policy.inner_budget].into_iter().flatten() {
            budget.call();
        }
        let verb = call.verb.filter(|_| !call.road.is_proxied());
        if let Some(hedge) = policy.hedge.as_ref().filter(|hedge| hedge.is_for(verb)) {
            hedge.budget.call();
        }
        let total = policy.retry.as_ref().and_then(|retry| retry.beyond.total);
        let method = if policy.retry.is_some() {
            call.method.into()
        } else {
            Box::default()
        };
        Self {
            road: call.road,
            is_streaming: call.is_streaming && !call.road.is_proxied(),
            method,
            breaker,
            backoff: Backoff::new(policy.retry.as_deref()),
            attempts: 0,
            outer: Outer::default(),
            next: Next::Outer,
            is_retried: false,
            is_late: false,
            end: total.and_then(|total| Instant::now().checked_add(total)),
            pushback: None,
            verb,
            policy,
        }
    }

    fn is_long(&self) -> bool {
        self.road == Road::Proxied { is_long: true }
    }

    /// The hedging of the call, if it may be made twice.
    fn hedge(&self) -> Option<&Hedge> {
        self.policy.hedge.as_ref().filter(|hedge| hedge.is_for(self.verb))
    }

    /// How the log names the call.
    fn name(&self) -> String {
        let key = self.policy.key(self.road, &self.method);
        format!("endpoint[{}, {key}]", self.policy.written)
    }

    /// Whether the built-in retry sends once more, and after which pause.
    fn again_within(&mut self, outcome: Outcome<'_>) -> Option<Duration> {
        let built_in = self.outer.built_in.as_mut()?;
        let Verdict::Again(pause) = built_in.run.judge(outcome) else {
            return None;
        };
        built_in.is_retry = !pause.is_zero();
        let pause = match &self.policy.inner {
            // A call that nobody saw begins anew at once.
            _ if pause.is_zero() => pause,
            Some(retry) => {
                let pause = built_in.backoff.next(retry)?;
                let budget = self.policy.inner_budget.as_ref();
                budget.is_none_or(Budget::allows).then_some(pause)?
            }
            None => return None,
        };
        // Nothing is waited for beyond the time limit: the attempt that follows then ends as a late one.
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let most = self.outer.deadline.map_or(pause, left);
        Some(pause.min(most))
    }

    /// Tells the breaker how the outer attempt ended.
    fn report(&mut self, is_success: bool) {
        if let Some(probe) = self.outer.probe.take() {
            probe.ended(is_success);
        }
    }

    fn of_status(&self, status: Option<i32>) -> Result {
        // The status of a proxied call comes at its end.
        let Some(status) = status else {
            return Result::Success;
        };
        let is_listed = || {
            self.policy
                .retry
                .as_ref()
                .is_some_and(|retry| retry.is_for(status))
        };
        let is_http = status >= 100;
        let is_failure = match self.road {
            Road::Http if is_http => !(200..400).contains(&status),
            // What a gRPC app says is an answer like any other; only a stream counts it.
            Road::Http => self.is_streaming && status != code::OK,
            Road::Grpc if is_http => !(200..300).contains(&status),
            Road::Grpc | Road::Proxied { .. } => status != code::OK,
        };
        match self.road {
            _ if !is_failure => Result::Success,
            Road::Http if self.is_streaming => Result::Final,
            Road::Grpc => Result::Failure,
            // Its beginning went well.
            Road::Proxied { is_long: true } => Result::Success,
            Road::Http | Road::Proxied { .. } if is_listed() => Result::Failure,
            Road::Http | Road::Proxied { .. } => Result::Final,
        }
    }

    fn of_error(&self, error: &InvokeError) -> Result {
        // Its own time is over, or it asked for something that cannot be.
        if error.fault == Fault::Caller {
            return Result::Final;
        }
        match self.road {
            // Without an address Dapr finds no policy.
            Road::Proxied { .. } if matches!(error.cause, Cause::Resolve(_) | Cause::NoResolver) => {
                Result::Neutral
            }
            Road::Proxied { is_long } => match error.rpc_code() {
                // It did not even begin.
                Some(_) if error.is_unseen_by_peer() => Result::Failure,
                Some(_) if is_long => Result::Final,
                Some(code) => match &self.policy.retry {
                    Some(retry) if retry.is_for(code) => Result::Failure,
                    _ => Result::Final,
                },
                None => Result::Failure,
            },
            Road::Http if self.is_streaming => Result::Final,
            Road::Http | Road::Grpc => Result::Failure,
        }
    }

    /// The pause before another outer attempt, if there is one.
    fn again(&mut self) -> Option<Duration> {
        let retry = self.policy.retry.as_ref()?;
        let mut pause = self.backoff.next(retry)?;
        match (self.pushback.take(), retry.beyond.longest_wish) {
            (Some(Pushback::Never), Some(_)) => return None,
            // Who asks for more than would be waited for gets no call sooner, but none at all.
            (Some(Pushback::After(wish)), Some(longest)) if wish > longest => return None,
            (Some(Pushback::After(wish)), Some(_)) => pause = wish,
            _ => {}
        }
        if let Some(end) = self.end
            && end.saturating_duration_since(Instant::now()) <= pause
        {
            return None;
        }
        let budget = self.policy.budget.as_ref();
        budget.is_none_or(Budget::allows).then_some(pause)
    }

    /// Takes note of how long an answer took, for the delay of hedging.
    fn time(&mut self, outcome: Outcome<'_>) {
        if let Some(begun) = self.outer.begun.take()
            && let (Outcome::Answered(_), Some(hedge)) = (outcome, &self.policy.hedge)
        {
            hedge.answered(begun.elapsed());
        }
    }

    fn tell_recovered(&self) {
        if self.is_retried {
            let (name, attempts) = (self.name(), self.attempts);
            tracing::info!(target: SCOPE, "Recovered processing operation {name} after {attempts} attempts");
        }
    }
}

impl Run for PolicyRun {
    fn admit(&mut self) -> std::result::Result<Option<Instant>, InvokeError> {
        if self.next == Next::Inner {
            self.next = Next::Outer;
            return Ok(self.outer.deadline);
        }
        let probe = match &self.breaker {
            Some(breaker) => Some(Probe {
                permit: Some(breaker.admit(Instant::now()).map_err(refused)?),
                told: Arc::clone(&self.policy.told),
            }),
            None => None,
        };
        self.attempts += 1;
        let limit = self.policy.timeout.limit.filter(|_| !self.is_long());
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let end = self.end.filter(|_| !self.is_long());
        let is_timed = self.hedge().is_some_and(Hedge::is_timed);
        let built_in = self.policy.built_in().map(|(app, settings)| BuiltIn {
            run: settings.run(app.clone(), self.road.is_proxied(), self.is_streaming),
            backoff: Backoff::new(self.policy.inner.as_deref()),
            is_retry: false,
        });
        self.outer = Outer {
            deadline: match (deadline, end) {
                (Some(deadline), Some(end)) => Some(deadline.min(end)),
                (one, other) => one.or(other),
            },
            begun: is_timed.then(Instant::now),
            probe,
            built_in,
        };
        Ok(self.outer.deadline)
    }

    fn keeps(&self) -> u64 {
        if self.is_streaming {
            return 0;
        }
        if !self.is_long() && self.policy.retry.as_ref().is_some_and(|retry| retry.repeats()) {
            return self.policy.kept;
        }
        // What a proxied call begins with may go to another instance when the app of the first is gone.
        if self.road.is_proxied() || self.policy.inner.is_some() {
            return BUILT_IN_KEEPS;
        }
        0
    }

    fn wants_one_message(&self) -> bool {
        !self.is_long() && self.policy.retry.as_ref().is_some_and(|retry| retry.repeats())
    }

    fn wants_status(&self) -> bool {
        !self.is_long() && (self.policy.retry.is_some() || self.breaker.is_some())
    }

    fn wants_pushback(&self) -> bool {
        let retry = self.policy.retry.as_ref();
        retry.is_some_and(|retry| retry.beyond.longest_wish.is_some())
    }

    fn pushed_back(&mut self, pushback: Pushback) {
        self.pushback = Some(pushback);
    }

    fn hedges_after(&self) -> Option<Duration> {
        self.hedge()?.delay()
    }

    fn may_hedge(&self) -> bool {
        self.hedge().is_some_and(|hedge| hedge.budget.take())
    }

    fn judge(&mut self, outcome: Outcome<'_>) -> Verdict {
        self.time(outcome);
        if let Some(pause) = self.again_within(outcome) {
            self.next = Next::Inner;
            return Verdict::Again(pause);
        }
        let result = match outcome {
            Outcome::Answered(status) => self.of_status(status),
            Outcome::Unseen(_) if self.is_streaming => Result::Final,
            Outcome::Unseen(status) if self.road.is_proxied() => self.of_status(Some(status)),
            Outcome::Unseen(_) => Result::Failure,
            Outcome::Failed(error) => self.of_error(error),
        };
        if let Outcome::Failed(error) = outcome
            && matches!(error.cause, Cause::DeadlineExceeded)
            && error.fault != Fault::Caller
            && self.policy.timeout.is_counted
            && !std::mem::replace(&mut self.is_late, true)
        {
            self.policy.told.activated(Part::Timeout);
        }
        match result {
            Result::Success => {
                self.tell_recovered();
                if self.is_long() {
                    self.report(true);
                }
                return Verdict::Done;
            }
            Result::Neutral => {
                self.outer.probe.take().into_iter().for_each(Probe::forget);
                return Verdict::Done;
            }
            Result::Failure | Result::Final => self.report(false),
        }
        match result {
            Result::Failure => self.again().map_or(Verdict::Done, Verdict::Again),
            _ => Verdict::Done,
        }
    }

    fn repeats(&mut self, outcome: Outcome<'_>, pause: Duration) {
        if self.next == Next::Inner {
            if let Some(built_in) = &mut self.outer.built_in {
                if let Some(budget) = self.policy.inner_budget.as_ref().filter(|_| built_in.is_retry) {
                    budget.spend();
                }
                built_in.run.repeats(outcome, pause);
            }
            return;
        }
        if let Some(budget) = &self.policy.budget {
            budget.spend();
        }
        if std::mem::replace(&mut self.is_retried, true) {
            return;
        }
        self.policy.told.activated(Part::Retry);
        let (name, pause) = (self.name(), format_duration(pause));
        tracing::warn!(target: SCOPE, "Error processing operation {name}. Retrying in {pause}…");
        match outcome {
            Outcome::Failed(error) => {
                tracing::debug!(target: SCOPE, "Error for operation {name} was: {error}");
            }
            Outcome::Answered(status) => {
                let status = status.unwrap_or_default();
                tracing::debug!(target: SCOPE, "Error for operation {name} was: status {status}");
            }
            Outcome::Unseen(status) => {
                tracing::debug!(target: SCOPE, "Error for operation {name} was: no app, status {status}");
            }
        }
    }

    fn last_word(&self, error: InvokeError) -> InvokeError {
        match (&self.outer.built_in, &self.policy.inner) {
            (Some(built_in), Some(_)) => built_in.run.last_word(error),
            _ => error,
        }
    }

    fn wants_end(&self) -> bool {
        self.outer.probe.is_some()
    }

    fn ended(mut self, end: End<'_>, status: Option<i32>) {
        let is_whole = matches!(end, End::Whole);
        self.report(is_whole && status.unwrap_or(code::OK) == code::OK);
    }
}

/// How much the built-in retry keeps of a body.
const BUILT_IN_KEEPS: u64 = 64 * 1024;

fn refused(why: Refused) -> InvokeError {
    let cause = match why {
        Refused::Open => Cause::BreakerOpen,
        Refused::TooMany => Cause::BreakerFull,
    };
    InvokeError::new(Fault::Us, Delivery::No, cause)
}

/// A call that a breaker let through. Whoever drops it without a word says that it failed: its caller went away.
struct Probe {
    permit: Option<Permit>,
    told: Arc<dyn Told>,
}

impl Probe {
    fn ended(mut self, is_success: bool) {
        self.tell(is_success);
    }

    /// It tells nothing about the target.
    fn forget(mut self) {
        self.permit = None;
    }

    fn tell(&mut self, is_success: bool) {
        let Some(permit) = self.permit.take() else { return };
        if let Some(state) = permit.ended(is_success, Instant::now()) {
            self.told.activated(Part::CircuitBreaker(state));
            self.told.breaker_state(state);
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.tell(false);
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Probe").field(&self.permit).finish()
    }
}

#[cfg(test)]
mod tests;
