//! From metadata to rules that are at work.

use std::collections::HashMap;
use std::sync::Arc;

use super::breaker::{Breaker, BreakerRule};
use super::clock::Clock;
use super::fields::{self, Fields, RulesError};
use super::flow::{Flow, FlowRule, Window};
use super::hot_spot::HotSpotRule;
use super::isolation::{Isolation, IsolationRule};
use super::machine::Machine;
use super::system::{System, SystemRule};
use super::{Resource, Resources, Sentinel, SentinelError};
use crate::properties::Properties;

/// A kind of rules: the name of its metadata, and what Dapr and Sentinel call it.
struct Kind {
    name: &'static str,
    dapr: &'static str,
    go: &'static str,
}

const fn kind(name: &'static str, dapr: &'static str, go: &'static str) -> Kind {
    Kind { name, dapr, go }
}

const FLOW: Kind = kind("flowRules", "flow", "flow");
const ISOLATION: Kind = kind("isolationRules", "isolation", "isolation");
const BREAKERS: Kind = kind("circuitBreakerRules", "circuit breaker", "circuitbreaker");
const HOT_SPOT: Kind = kind("hotSpotParamRules", "hotspot param", "hotspot");
const SYSTEM: Kind = kind("systemRules", "system", "system");

/// What rules say of a resource, as they are gathered.
#[derive(Default)]
struct Gathered {
    flows: Vec<Flow>,
    isolation: Vec<u32>,
    breakers: Vec<Breaker>,
    counting: Vec<Arc<Window>>,
}

/// The component of these metadata.
pub(super) fn read(properties: &Properties, clock: Clock) -> Result<Sentinel, SentinelError> {
    let machine = Arc::new(Machine::new());
    let mut gathered: HashMap<String, Gathered> = HashMap::new();
    let flows = list(properties, &FLOW, |fields| FlowRule::read(fields, &machine))?;
    for FlowRule {
        resource,
        counted,
        rule,
    } in flows
    {
        if let Some(window) = rule.counts() {
            gathered.entry(counted).or_default().counting.push(window);
        }
        gathered.entry(resource).or_default().flows.push(rule);
    }
    for IsolationRule { resource, threshold } in list(properties, &ISOLATION, IsolationRule::read)? {
        gathered.entry(resource).or_default().isolation.push(threshold);
    }
    for BreakerRule { resource, breaker } in list(properties, &BREAKERS, BreakerRule::read)? {
        gathered.entry(resource).or_default().breakers.push(breaker);
    }
    for HotSpotRule { resource } in list(properties, &HOT_SPOT, HotSpotRule::read)? {
        tracing::warn!(target: "dapr.contrib", "sentinel: a rule of hotSpotParamRules for {resource} never counts: calls have no parameters");
    }
    let rules = list(properties, &SYSTEM, SystemRule::read)?;
    for rule in &rules {
        if let Some(name) = rule.unknown(&machine, clock.now()) {
            tracing::warn!(target: "dapr.contrib", "sentinel: a rule of systemRules lets all calls pass: this system does not tell its {name}");
        }
    }
    Ok(Sentinel {
        clock: Arc::new(clock),
        system: System::new(rules, machine).map(Arc::new),
        resources: resources(gathered),
    })
}

/// The rules of a kind. Those that are none are told and passed over, as in Sentinel.
fn list<T>(
    properties: &Properties,
    kind: &Kind,
    read: impl Fn(&Fields) -> Result<Result<T, String>, RulesError>,
) -> Result<Vec<T>, SentinelError> {
    let Some(text) = properties.get(kind.name).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let failed = |source| SentinelError::Rules {
        kind: kind.dapr,
        go: kind.go,
        text: text.to_owned(),
        source,
    };
    let mut rules = Vec::new();
    for fields in fields::read(text).map_err(failed)? {
        match read(&fields).map_err(failed)? {
            Ok(rule) => rules.push(rule),
            Err(why) => {
                tracing::warn!(target: "dapr.contrib", "sentinel: rule {} of {} is ignored: {why}", fields.rule, kind.name);
            }
        }
    }
    Ok(rules)
}

fn resources(gathered: HashMap<String, Gathered>) -> Resources {
    let mut resources: Resources = Resources::new();
    for (name, gathered) in gathered {
        let Some((method, path)) = name.split_once(':') else {
            tracing::warn!(target: "dapr.contrib", "sentinel: no call is of the resource {name}: METHOD:/path is expected");
            continue;
        };
        let resource = Resource {
            flows: gathered.flows.into(),
            isolation: Isolation::new(gathered.isolation.into_iter()),
            breakers: gathered.breakers.into(),
            counting: gathered.counting.into(),
        };
        resources
            .entry(method.into())
            .or_default()
            .insert(path.as_bytes().into(), Arc::new(resource));
    }
    resources
}
