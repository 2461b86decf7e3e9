//! Evaluates a policy, which may take long: whoever sends a request has a hand in how long.
//!
//! Most judgements take microseconds, and are made at once. One that turns out to be long begins anew on a thread that may
//! be kept busy, so that a policy and a request made for it do not hold up other calls; a few of those go on at a time.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{RULE, in_words};

/// How long a call may keep its thread.
const AT_ONCE: Duration = Duration::from_millis(5);
/// How long a judgement may take.
const LONGEST: Duration = Duration::from_millis(500);
/// How long one that is long waits for its turn.
const TURN: Duration = Duration::from_secs(1);
/// After how many steps is looked at the clock.
const STEPS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// Why there is no result.
#[derive(Debug, Error)]
pub(super) enum NoResult {
    #[error("{0}")]
    Rego(String),
    #[error("other judgements that take long are going on")]
    Busy,
    #[error("the judgement broke off")]
    Broken,
}

/// A policy that was compiled.
pub(super) struct Policy {
    engine: Engine,
    /// Places for judgements that take long: half of the processors go on with calls.
    long: Arc<Semaphore>,
}

impl Policy {
    pub(super) fn new(engine: Engine) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            engine,
            long: Arc::new(Semaphore::new((processors / 2).max(1))),
        }
    }

    /// What the rule says to this input.
    pub(super) async fn evaluate(&self, input: Value) -> Result<Value, NoResult> {
        let first = evaluated(self.engine.clone(), input.clone(), AT_ONCE);
        match first {
            Err(error) if is_late(&error) => {}
            Err(error) => return Err(NoResult::Rego(in_words(&error))),
            Ok(result) => return Ok(result),
        }
        let place = timeout(TURN, Arc::clone(&self.long).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(NoResult::Busy);
        };
        let engine = self.engine.clone();
        let judged = tokio::task::spawn_blocking(move || {
            // A call that is given up does not end what it began, so the place belongs to the judgement.
            let _place = place;
            evaluated(engine, input, LONGEST)
        });
        let result = judged.await.map_err(|_| NoResult::Broken)?;
        result.map_err(|error| NoResult::Rego(in_words(&error)))
    }
}

fn evaluated(mut engine: Engine, input: Value, limit: Duration) -> anyhow::Result<Value> {
    limit_to(&mut engine, limit);
    engine.set_input(input);
    engine.eval_rule(RULE.to_owned())
}

fn limit_to(engine: &mut Engine, limit: Duration) {
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit,
        check_interval: STEPS,
    });
}

/// Judges nothing, which compiles the policy and shows what would fail each time.
pub(super) fn rehearse(engine: &mut Engine) -> anyhow::Result<Value> {
    limit_to(engine, LONGEST);
    engine.set_input(Value::new_object());
    engine.eval_rule(RULE.to_owned())
}

fn is_late(error: &anyhow::Error) -> bool {
    let limit = error.downcast_ref::<LimitError>();
    matches!(limit, Some(LimitError::TimeLimitExceeded { .. }))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn policy(rule: &str) -> Policy {
        let mut engine = Engine::new();
        engine.set_rego_v0(true);
        let text = format!("package http\n{rule}");
        engine.add_policy("inline.rego".to_owned(), text).unwrap();
        Policy::new(engine)
    }

    /// Compares each number with each other one.
    fn slow(numbers: u32) -> Policy {
        policy(&format!(
            "allow {{ some i, j; xs := numbers.range(1, {numbers}); xs[i] + xs[j] == 0 }}"
        ))
    }

    #[tokio::test]
    async fn one_that_is_long_leaves_the_thread_to_others() {
        let policy = slow(20_000);
        let mut judged = pin!(policy.evaluate(Value::new_object()));
        let first = judged.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(first, Poll::Pending), "{first:?}");
        let result = judged.await;
        assert!(
            matches!(&result, Err(NoResult::Rego(text)) if text.contains("time limit")),
            "{result:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_few_are_long_at_a_time() {
        let policy = slow(20_000);
        let all = u32::try_from(policy.long.available_permits()).unwrap();
        let places = policy.long.acquire_many(all).await.unwrap();
        let result = policy.evaluate(Value::new_object()).await;
        assert!(matches!(result, Err(NoResult::Busy)), "{result:?}");
        drop(places);
    }

    #[tokio::test]
    async fn a_short_one_needs_no_place() {
        let policy = policy("allow { input.a == 1 }");
        policy.long.close();
        let input = Value::from_json_str("{\"a\":1}").unwrap();
        assert_eq!(policy.evaluate(input).await.unwrap(), Value::Bool(true));
    }
}
