//! What resources may say beyond what Dapr's `daprd` reads, all of it off when it is left out.

use std::time::Duration;

use go_text::positive;
use invoke_core::Verb;
use resources::{HedgePolicy, RetryBudget, RetryPolicy, TargetPolicies};

use super::Mistake;
use crate::budget::Settings as BudgetSettings;
use crate::duration::parse;
use crate::hedge::Settings as HedgeSettings;
use crate::methods::{MOST, Pattern};
use crate::retry::Beyond;

const DEFAULT_WINDOW: Duration = Duration::from_secs(10);
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(600);
const DEFAULT_PERCENT: i64 = 20;
const DEFAULT_MINIMUM: i64 = 3;
/// Of the calls that are hedged: a second call for one in ten.
const DEFAULT_HEDGED: i64 = 10;
const MOST_MINIMUM: i64 = 100_000;

fn mistake(place: &str, reason: impl Into<String>) -> Mistake {
    Mistake::Beyond {
        place: place.to_owned(),
        reason: reason.into(),
    }
}

/// A duration of more than nothing; `None` when it is left out.
fn duration(place: &str, value: &str) -> Result<Option<Duration>, Mistake> {
    if value.is_empty() {
        return Ok(None);
    }
    let nanos = parse(value).map_err(|reason| mistake(place, reason.to_string()))?;
    let duration =
        positive(nanos).ok_or_else(|| mistake(place, format!("{value} is no time to wait for")))?;
    Ok(Some(duration))
}

/// A share in thousandths; `None` when it is left out.
fn share(place: &str, value: &str) -> Result<Option<u32>, Mistake> {
    if value.is_empty() {
        return Ok(None);
    }
    let share = value
        .parse::<f64>()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    let share = share.ok_or_else(|| mistake(place, format!("{value:?} is no number from 0 to 1")))?;
    Ok(Some((share * 1000.0).round() as u32))
}

fn within(place: &str, value: Option<i64>, default: i64, most: i64) -> Result<u32, Mistake> {
    let value = value.unwrap_or(default);
    u32::try_from(value)
        .ok()
        .filter(|_| value <= most)
        .ok_or_else(|| mistake(place, format!("{value} is not from 0 to {most}")))
}

fn budget(place: &str, budget: &RetryBudget, default: i64) -> Result<BudgetSettings, Mistake> {
    let at = |field: &str| format!("{place}.budget.{field}");
    let window = duration(&at("window"), &budget.window)?.unwrap_or(DEFAULT_WINDOW);
    if !(SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&window) {
        return Err(mistake(
            &at("window"),
            format!("{} is not from 1s to 10m", budget.window),
        ));
    }
    Ok(BudgetSettings {
        percent: within(&at("percent"), budget.percent, default, 100)?,
        minimum: within(&at("minimum"), budget.minimum, DEFAULT_MINIMUM, MOST_MINIMUM)?,
        window,
    })
}

/// What a retry policy has. Of a call that nobody could be reached for, the retry that is built in hears nothing, and it
/// has no end but its count.
pub(super) fn retry(name: &str, policy: &RetryPolicy, is_built_in: bool) -> Result<Beyond, Mistake> {
    let place = format!("spec.policies.retries.{name}");
    let at = |field: &str| format!("{place}.{field}");
    for (field, value) in [
        ("totalTimeout", &policy.total_timeout),
        ("maxRetryAfter", &policy.max_retry_after),
    ] {
        if is_built_in && !value.is_empty() {
            return Err(mistake(&at(field), "the retry that is built in has none"));
        }
    }
    Ok(Beyond {
        jitter: share(&at("jitter"), &policy.jitter)?,
        total: duration(&at("totalTimeout"), &policy.total_timeout)?,
        longest_wish: duration(&at("maxRetryAfter"), &policy.max_retry_after)?,
        budget: match &policy.budget {
            Some(one) => Some(budget(&place, one, DEFAULT_PERCENT)?),
            None => None,
        },
    })
}

/// A hedging policy.
pub(crate) fn hedge(name: &str, policy: &HedgePolicy) -> Result<HedgeSettings, Mistake> {
    let place = format!("spec.policies.hedges.{name}");
    let at = |field: &str| format!("{place}.{field}");
    let delay = duration(&at("delay"), &policy.delay)?;
    let quantile = share(&at("quantile"), &policy.quantile)?;
    if quantile.is_some_and(|quantile| !(500..1000).contains(&quantile)) {
        let reason = format!("{} is not from 0.5 to 0.999", policy.quantile);
        return Err(mistake(&at("quantile"), reason));
    }
    if delay.is_none() && quantile.is_none() {
        return Err(mistake(&place, "it has neither a delay nor a quantile"));
    }
    let names = policy
        .verbs
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let verbs = names.map(|name| {
        let repeatable = [
            Verb::GET,
            Verb::HEAD,
            Verb::OPTIONS,
            Verb::PUT,
            Verb::DELETE,
            Verb::TRACE,
        ];
        let known = repeatable.into_iter().find(|verb| verb.name() == Some(name));
        known.ok_or_else(|| mistake(&at("verbs"), format!("calls with {name} may not be made twice")))
    });
    Ok(HedgeSettings {
        delay,
        quantile,
        verbs: verbs.collect::<Result<_, _>>()?,
        budget: budget(
            &place,
            policy.budget.as_ref().unwrap_or(&RetryBudget::default()),
            DEFAULT_HEDGED,
        )?,
    })
}

/// What methods of a target have, each with its key.
pub(crate) fn methods(target: &str, names: &TargetPolicies) -> Result<Vec<(String, Pattern)>, Mistake> {
    let place = format!("spec.targets.apps.{target}.methods");
    if names.methods.len() > MOST {
        return Err(mistake(&place, format!("there are more than {MOST}")));
    }
    let mut patterns: Vec<(String, Pattern)> = Vec::new();
    for key in names.methods.keys() {
        let pattern = Pattern::parse(key).map_err(|reason| mistake(&format!("{place}.{key:?}"), reason))?;
        if let Some((same, _)) = patterns.iter().find(|(_, known)| *known == pattern) {
            return Err(mistake(
                &format!("{place}.{key:?}"),
                format!("it is for the same calls as {same:?}"),
            ));
        }
        patterns.push((key.clone(), pattern));
    }
    Ok(patterns)
}
