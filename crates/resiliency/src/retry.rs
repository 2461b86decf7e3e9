//! How often a call is tried again, and after which pauses.

use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Settings as BudgetSettings;
use crate::codes::{Codes, GRPC, HTTP};

/// The first pause of an exponential policy, before it is scattered.
const FIRST: Duration = Duration::from_millis(500);
/// By how much an exponential policy slows down.
const FACTOR: f64 = 1.5;
/// By how much a pause is scattered, down and up.
const SCATTER: f64 = 0.5;
/// After which time an exponential policy gives up.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A retry policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) pauses: Pauses,
    /// How many attempts may follow the first; `None` for any number.
    pub(crate) retries: Option<u64>,
    pub(crate) http: Codes,
    pub(crate) grpc: Codes,
    pub(crate) beyond: Beyond,
}

/// What Dapr's retries do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// By how many thousandths of itself a pause is scattered, down and up; `None` for what Dapr does.
    pub(crate) jitter: Option<u32>,
    /// How long all attempts and pauses may take together.
    pub(crate) total: Option<Duration>,
    /// The longest pause that the other side may ask for. `None`: it is not listened to.
    pub(crate) longest_wish: Option<Duration>,
    /// How many of the calls may be retries.
    pub(crate) budget: Option<BudgetSettings>,
}

/// The pauses between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pauses {
    /// Always the same.
    Constant(Duration),
    /// Scattered around a base, which grows up to this.
    Exponential(Duration),
}

impl Retry {
    /// Whether there is more than one attempt.
    pub(crate) fn repeats(&self) -> bool {
        self.retries != Some(0)
    }

    /// Whether a failure with this status is tried again. A number that is neither a status of HTTP nor a code of gRPC
    /// never is.
    pub(crate) fn is_for(&self, status: i32) -> bool {
        let number = i64::from(status);
        if GRPC.contains(&number) {
            self.grpc.has(status)
        } else {
            HTTP.contains(&number) && self.http.has(status)
        }
    }
}

/// Where one call is in its policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// When the call began, if that matters.
    begun: Option<Instant>,
    taken: u64,
    base: Duration,
}

impl Backoff {
    /// A call begins. A policy that never gives up by time asks for none.
    pub(crate) fn new(retry: Option<&Retry>) -> Self {
        let is_timed = retry.is_some_and(|retry| matches!(retry.pauses, Pauses::Exponential(_)));
        Self {
            begun: is_timed.then(Instant::now),
            taken: 0,
            base: FIRST,
        }
    }

    /// The pause before the next attempt; `None` when there is none.
    pub(crate) fn next(&mut self, retry: &Retry) -> Option<Duration> {
        if retry.retries.is_some_and(|retries| self.taken >= retries) {
            return None;
        }
        self.taken += 1;
        let jitter = retry
            .beyond
            .jitter
            .map(|thousandths| f64::from(thousandths) / 1000.0);
        match (retry.pauses, jitter) {
            (Pauses::Constant(pause), None) => Some(pause),
            (Pauses::Constant(pause), Some(jitter)) => Some(scattered(pause, jitter)),
            (Pauses::Exponential(most), jitter) => {
                let pause = scattered(self.base, jitter.unwrap_or(SCATTER));
                self.base = self.base.mul_f64(FACTOR).min(most);
                let elapsed = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
                (elapsed + pause <= LONGEST).then_some(pause)
            }
        }
    }
}

/// Anything from so much less to so much more.
fn scattered(pause: Duration, by: f64) -> Duration {
    pause.mul_f64(1.0 - by + 2.0 * by * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn jitter_scatters_pauses() {
        let millis = Duration::from_millis;
        let jitter = |thousandths| Beyond {
            jitter: Some(thousandths),
            ..Beyond::default()
        };
        let constant = Retry {
            beyond: jitter(200),
            ..retry(Pauses::Constant(millis(100)), None)
        };
        let found = pauses(&constant, 200).await;
        assert!(
            found
                .iter()
                .all(|pause| (millis(80)..=millis(120)).contains(pause)),
            "{found:?}"
        );
        assert!(
            found.iter().any(|pause| *pause < millis(95)) && found.iter().any(|pause| *pause > millis(105))
        );
        let regular = Retry {
            beyond: jitter(0),
            ..retry(Pauses::Exponential(millis(60_000)), Some(3))
        };
        assert_eq!(
            pauses(&regular, 10).await,
            [millis(500), millis(750), millis(1125)]
        );
    }

    fn retry(pauses: Pauses, retries: Option<u64>) -> Retry {
        Retry {
            pauses,
            retries,
            http: Codes::default(),
            grpc: Codes::default(),
            beyond: Beyond::default(),
        }
    }

    async fn pauses(retry: &Retry, most: usize) -> Vec<Duration> {
        let mut backoff = Backoff::new(Some(retry));
        let mut pauses = Vec::new();
        while pauses.len() < most
            && let Some(pause) = backoff.next(retry)
        {
            tokio::time::advance(pause).await;
            pauses.push(pause);
        }
        pauses
    }

    #[tokio::test(start_paused = true)]
    async fn constant_pauses() {
        let pause = Duration::from_millis(10);
        let of = async |retries| pauses(&retry(Pauses::Constant(pause), retries), 1000).await;
        assert!(of(Some(0)).await.is_empty());
        assert_eq!(of(Some(3)).await, [pause; 3]);
        assert_eq!(of(None).await.len(), 1000, "it never ends");
    }

    #[tokio::test(start_paused = true)]
    async fn exponential_pauses_are_scattered_around_a_base_that_grows() {
        let millis = Duration::from_millis;
        for _ in 0..50 {
            let found = pauses(&retry(Pauses::Exponential(millis(100)), Some(3)), 10).await;
            assert_eq!(found.len(), 3);
            assert!(
                (millis(250)..=millis(750)).contains(&found[0]),
                "the first is not capped"
            );
            assert!(
                found[1..]
                    .iter()
                    .all(|pause| (millis(50)..=millis(150)).contains(pause))
            );
        }
        let found = pauses(&retry(Pauses::Exponential(millis(60_000)), None), 10_000).await;
        assert!(found.iter().sum::<Duration>() <= LONGEST);
        assert!(found.len() > 15, "it ends after a quarter of an hour");
        let base = |index: i32| 500.0 * FACTOR.powi(index);
        for (index, pause) in found.iter().take(10).enumerate() {
            let base = base(index as i32);
            let pause = pause.as_secs_f64() * 1000.0;
            assert!(
                pause >= base * 0.499 && pause <= base * 1.501,
                "{index}: {pause} {base}"
            );
        }
        assert!(found.iter().all(|pause| *pause <= millis(90_000)));
    }

    #[test]
    fn which_statuses() {
        let listed = Retry {
            http: Codes::parse("500", &HTTP).unwrap(),
            grpc: Codes::parse("14", &GRPC).unwrap(),
            ..retry(Pauses::Constant(Duration::ZERO), None)
        };
        let any = retry(Pauses::Constant(Duration::ZERO), None);
        for (status, of_list, of_any) in [
            (500, true, true),
            (503, false, true),
            (101, false, true),
            (600, false, false),
            (14, true, true),
            (0, false, true),
            (16, false, true),
            (17, false, false),
            (20, false, false),
            (-1, false, false),
        ] {
            assert_eq!(
                (listed.is_for(status), any.is_for(status)),
                (of_list, of_any),
                "{status}"
            );
        }
    }
}
