//! A circuit breaker: closed, open, half-open, as Dapr's.
//!
//! Every change of the state begins a generation with counts of nothing; what calls of an earlier one come to does not
//! count. See "Circuit breakers" in Dapr's documentation.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::SCOPE;
use crate::trip::Trip;

/// How many failures in a row a breaker allows that has no expression of its own.
const ALLOWED_FAILURES: u32 = 5;

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls are let through.
    Closed,
    /// A few calls are let through, to see how they end.
    HalfOpen,
    /// No call is let through.
    Open,
}

impl State {
    /// As logs and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a breaker counted in its generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that began.
    pub requests: u32,
    /// Calls that succeeded.
    pub total_successes: u32,
    /// Calls that failed.
    pub total_failures: u32,
    /// Successes since the last failure.
    pub consecutive_successes: u32,
    /// Failures since the last success.
    pub consecutive_failures: u32,
}

/// How a breaker is set up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// How many calls are let through half-open, and how many of them must succeed. Never 0.
    pub(crate) max_requests: u32,
    /// After which time a closed breaker begins to count anew.
    pub(crate) interval: Option<Duration>,
    /// For how long it is open.
    pub(crate) timeout: Duration,
    /// When it opens.
    pub(crate) trip: Option<Trip>,
}

/// Why a call is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Open,
    TooMany,
}

/// A breaker for the calls to one method of one target.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// The target and the method, as the log names them.
    name: Box<str>,
    settings: Arc<Settings>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    generation: u64,
    counts: Counts,
    /// When this generation began.
    begun: Instant,
}

impl Breaker {
    pub(crate) fn new(name: impl Into<Box<str>>, settings: Arc<Settings>, now: Instant) -> Self {
        Self {
            name: name.into(),
            settings,
            inner: Mutex::new(Inner {
                state: State::Closed,
                generation: 0,
                counts: Counts::default(),
                begun: now,
            }),
        }
    }

    /// What it is doing now.
    pub(crate) fn state(&self, now: Instant) -> State {
        let mut inner = self.lock();
        self.catch_up(&mut inner, now);
        inner.state
    }

    /// Lets a call through, if it may pass.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Result<Permit, Refused> {
        let mut inner = self.lock();
        self.catch_up(&mut inner, now);
        match inner.state {
            State::Open => return Err(Refused::Open),
            State::HalfOpen if inner.counts.requests >= self.settings.max_requests => {
                // Probes that have not ended for as long as the breaker was open will tell nothing: others may.
                if now - inner.begun <= self.settings.timeout {
                    return Err(Refused::TooMany);
                }
                inner.begin(now);
            }
            State::HalfOpen | State::Closed => {}
        }
        inner.counts.requests = inner.counts.requests.saturating_add(1);
        Ok(Permit {
            breaker: Arc::clone(self),
            generation: inner.generation,
        })
    }

    /// How a call ended that was let through in this generation. Gives the state when that changed it.
    fn ended(&self, generation: u64, is_success: bool, now: Instant) -> Option<State> {
        let mut inner = self.lock();
        self.catch_up(&mut inner, now);
        if inner.generation != generation {
            return None;
        }
        let next = inner.count(is_success, &self.settings)?;
        self.change(&mut inner, next, now);
        Some(next)
    }

    /// What the passing of time changes.
    fn catch_up(&self, inner: &mut Inner, now: Instant) {
        let is_over = |length: Duration| now - inner.begun > length;
        match inner.state {
            State::Closed if self.settings.interval.is_some_and(is_over) => inner.begin(now),
            State::Open if is_over(self.settings.timeout) => self.change(inner, State::HalfOpen, now),
            _ => {}
        }
    }

    fn change(&self, inner: &mut Inner, next: State, now: Instant) {
        let before = std::mem::replace(&mut inner.state, next);
        inner.begin(now);
        tracing::info!(target: SCOPE, "Circuit breaker {:?} changed state from {before} to {next}", self.name);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn begin(&mut self, now: Instant) {
        self.generation += 1;
        self.counts = Counts::default();
        self.begun = now;
    }

    /// Counts a call that ended; gives the state that follows, if it is another one.
    fn count(&mut self, is_success: bool, settings: &Settings) -> Option<State> {
        let counts = &mut self.counts;
        if is_success {
            counts.total_successes = counts.total_successes.saturating_add(1);
            counts.consecutive_successes = counts.consecutive_successes.saturating_add(1);
            counts.consecutive_failures = 0;
            let is_proven = counts.consecutive_successes >= settings.max_requests;
            return (self.state == State::HalfOpen && is_proven).then_some(State::Closed);
        }
        counts.total_failures = counts.total_failures.saturating_add(1);
        counts.consecutive_failures = counts.consecutive_failures.saturating_add(1);
        counts.consecutive_successes = 0;
        let opens = match (self.state, &settings.trip) {
            (State::HalfOpen, _) => true,
            (_, Some(trip)) => trip.is_met(counts),
            (_, None) => counts.consecutive_failures > ALLOWED_FAILURES,
        };
        opens.then_some(State::Open)
    }
}

/// A call that a breaker let through.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    generation: u64,
}

impl Permit {
    /// How the call ended. Gives the state of the breaker when that changed it.
    pub(crate) fn ended(&self, is_success: bool, now: Instant) -> Option<State> {
        self.breaker.ended(self.generation, is_success, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(trip: &str, max_requests: u32, interval: Option<Duration>) -> Arc<Settings> {
        Arc::new(Settings {
            max_requests,
            interval,
            timeout: SECOND,
            trip: (!trip.is_empty()).then(|| Trip::compile(trip).unwrap()),
        })
    }

    struct Clock(Instant);

    /// Plays a script: `+` a success, `-` a failure, `.` half a second, and gives what became of each call: `c`, `h` and
    /// `o` for the state after it, `O` and `T` for a refusal.
    fn play(settings: Arc<Settings>, script: &str) -> String {
        let mut clock = Clock(Instant::now());
        let breaker = Arc::new(Breaker::new("b", settings, clock.0));
        let mut seen = String::new();
        for step in script.chars() {
            if step == '.' {
                clock.0 += SECOND / 2;
                continue;
            }
            seen.push(match breaker.admit(clock.0) {
                Err(Refused::Open) => 'O',
                Err(Refused::TooMany) => 'T',
                Ok(permit) => {
                    permit.ended(step == '+', clock.0);
                    match breaker.state(clock.0) {
                        State::Closed => 'c',
                        State::HalfOpen => 'h',
                        State::Open => 'o',
                    }
                }
            });
        }
        seen
    }

    #[test]
    fn states() {
        for (trip, max, interval, script, wanted) in [
            ("", 1, None, "-------", "cccccoO"),
            ("", 1, None, "-----+-----", "ccccccccccc"),
            ("consecutiveFailures >= 2", 1, None, "--+..+...+-", "coOOcc"),
            ("consecutiveFailures >= 2", 1, None, "--...-+", "cooO"),
            ("consecutiveFailures >= 2", 3, None, "--...+++-", "cohhcc"),
            ("consecutiveFailures >= 2", 3, None, "--...++-+", "cohhoO"),
            ("requests > 4", 1, None, "+++---", "ccccoO"),
            ("totalFailures > 2", 1, None, "-+-+-+", "ccccoO"),
            ("totalFailures > 1", 1, Some(SECOND), "-...-...-", "ccc"),
            ("totalFailures > 1", 1, Some(SECOND), "-.-", "co"),
        ] {
            let found = play(settings(trip, max, interval), script);
            assert_eq!(found, wanted, "{trip} {script}");
        }
    }

    #[test]
    fn half_open_admits_so_many_at_once() {
        for most in [1, 3] {
            let now = Instant::now();
            let breaker = Arc::new(Breaker::new("b", settings("true", most, None), now));
            breaker.admit(now).unwrap().ended(false, now);
            let later = now + SECOND * 2;
            let probes: Vec<_> = (0..most).map(|_| breaker.admit(later).unwrap()).collect();
            assert_eq!(breaker.admit(later).unwrap_err(), Refused::TooMany);
            for probe in probes {
                probe.ended(true, later);
            }
            assert_eq!(breaker.state(later), State::Closed);
        }
    }

    #[test]
    fn a_probe_that_never_ends_gives_way() {
        let now = Instant::now();
        let breaker = Arc::new(Breaker::new("b", settings("true", 1, None), now));
        breaker.admit(now).unwrap().ended(false, now);
        let later = now + SECOND * 2;
        let stuck = breaker.admit(later).unwrap();
        assert_eq!(breaker.admit(later + SECOND).unwrap_err(), Refused::TooMany);
        let other = breaker.admit(later + SECOND * 2).unwrap();
        assert_eq!(stuck.ended(false, later), None, "what it came to is too late");
        assert_eq!(other.ended(true, later + SECOND * 2), Some(State::Closed));
    }

    #[test]
    fn a_late_result_of_an_earlier_generation_does_not_count() {
        let now = Instant::now();
        let breaker = Arc::new(Breaker::new(
            "b",
            settings("consecutiveFailures >= 2", 1, None),
            now,
        ));
        let late = breaker.admit(now).unwrap();
        breaker.admit(now).unwrap().ended(false, now);
        assert_eq!(breaker.admit(now).unwrap().ended(false, now), Some(State::Open));
        assert_eq!(late.ended(true, now), None);
        assert_eq!(breaker.state(now), State::Open);
    }
}
