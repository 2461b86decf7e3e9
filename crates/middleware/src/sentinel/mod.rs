//! `middleware.http.sentinel`: rules of [Sentinel](https://sentinelguard.io) say how many calls pass.
//!
//! A resource is a method and a path, `GET:/orders`. What is kept of it is kept only if a rule names it, so that callers
//! who invent paths make nothing grow. Rules are asked in the order of Sentinel: the system, flow, isolation, breakers.
//! Counting takes no lock that calls of other resources take.

mod breaker;
mod clock;
mod fields;
mod flow;
mod hot_spot;
mod isolation;
mod machine;
mod ring;
mod rules;
mod system;
mod warm_up;

use std::collections::HashMap;
use std::sync::Arc;

use http::{Response, StatusCode};
use invoke_core::Body;
use thiserror::Error;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::properties::{Duplicate, Properties};
use crate::request;
use breaker::{Admission, Breaker};
use clock::{Clock, Moment};
use fields::RulesError;
use flow::{Flow, Judgement, Window};
use isolation::Isolation;
use system::System;

/// Why there are no rules.
#[derive(Debug, Error)]
pub(crate) enum SentinelError {
    #[error("error to parse sentinel metadata: {0}")]
    Duplicate(#[from] Duplicate),
    #[error(
        "fail to load sentinel {kind} rules '{text}': Fail to convert source bytes to []*{go}.Rule, err: {source}"
    )]
    Rules {
        kind: &'static str,
        go: &'static str,
        text: String,
        source: RulesError,
    },
}

/// A component of rules.
#[derive(Debug)]
pub(crate) struct Sentinel {
    clock: Arc<Clock>,
    system: Option<Arc<System>>,
    resources: Resources,
}

/// Resources by method and by path.
type Resources = HashMap<Box<str>, HashMap<Box<[u8]>, Arc<Resource>>>;

/// What rules say of a resource, and what is remembered of it for those of others.
#[derive(Debug)]
struct Resource {
    flows: Box<[Flow]>,
    isolation: Option<Isolation>,
    breakers: Box<[Breaker]>,
    /// Who is told of each call that passes.
    counting: Box<[Arc<Window>]>,
}

/// A call that passed. When it is dropped the call is over.
#[derive(Debug)]
pub(crate) struct Passage {
    clock: Arc<Clock>,
    begun: Moment,
    resource: Option<Arc<Resource>>,
    system: Option<Arc<System>>,
    has_failed: bool,
}

impl Sentinel {
    /// `flowRules`, `isolationRules`, `circuitBreakerRules`, `hotSpotParamRules` and `systemRules` are lists in JSON.
    /// `appName` and `logDir` are for files of Sentinel's that are not written here.
    pub(crate) fn new(properties: &Properties) -> Result<Self, SentinelError> {
        properties.check()?;
        rules::read(properties, Clock::new())
    }

    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        let method = self.resources.get(call.request.method().as_str());
        let resource = method.and_then(|paths| paths.get(&*request::path(&call.request)));
        if resource.is_none() && self.system.is_none() {
            return Ok(After::Nothing);
        }
        match self.enter(resource).await {
            Some(passage) => Ok(After::Complete(passage)),
            None => Err(Box::new(refused(
                StatusCode::TOO_MANY_REQUESTS,
                "Too Many Requests",
            ))),
        }
    }

    async fn enter(&self, resource: Option<&Arc<Resource>>) -> Option<Passage> {
        let begun = self.clock.now();
        let system = self.system.as_ref();
        if system.is_some_and(|system| !system.lets_pass(begun)) {
            return None;
        }
        if let Some(resource) = resource {
            let taken = self.flow(resource).await?;
            if !resource.enter(self.clock.now()) {
                resource.give_back(taken);
                return None;
            }
        }
        let passed = self.clock.now();
        if let Some(resource) = resource {
            resource.counting.iter().for_each(|window| window.count(passed));
        }
        if let Some(system) = &self.system {
            system.begin(passed);
        }
        Some(Passage {
            clock: Arc::clone(&self.clock),
            begun,
            resource: resource.cloned(),
            system: self.system.clone(),
            has_failed: false,
        })
    }

    /// Asks the rules of flow, and waits as they say. The answer is when each of them let the call pass.
    async fn flow(&self, resource: &Resource) -> Option<Taken> {
        let mut taken = Taken::default();
        for flow in &resource.flows {
            let now = self.clock.now();
            match flow.judge(now) {
                Judgement::Pass => {}
                Judgement::Wait(wait) => self.clock.sleep(wait).await,
                Judgement::Block => {
                    resource.give_back(taken);
                    return None;
                }
            }
            taken.push(now);
        }
        Some(taken)
    }
}

/// When the rules of flow let a call pass. Most resources have one or two, for which nothing is allocated.
#[derive(Debug, Default)]
struct Taken {
    first: [Option<Moment>; 2],
    more: Vec<Moment>,
}

impl Taken {
    fn push(&mut self, at: Moment) {
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(at),
            None => self.more.push(at),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Moment> {
        self.first.iter().flatten().chain(&self.more).copied()
    }
}

impl Resource {
    /// Whether isolation and breakers let one more call go on.
    fn enter(&self, now: Moment) -> bool {
        if self
            .isolation
            .as_ref()
            .is_some_and(|isolation| !isolation.begin())
        {
            return false;
        }
        let mut probed = Vec::new();
        for breaker in &self.breakers {
            match breaker.admit(now) {
                Admission::Pass => {}
                Admission::Probe => probed.push(breaker),
                Admission::Block => {
                    probed.into_iter().for_each(Breaker::not_probed);
                    self.leave_isolation();
                    return false;
                }
            }
        }
        true
    }

    fn leave_isolation(&self) {
        if let Some(isolation) = &self.isolation {
            isolation.end();
        }
    }

    fn give_back(&self, taken: Taken) {
        for (flow, at) in self.flows.iter().zip(taken.iter()) {
            flow.give_back(at);
        }
    }
}

impl Passage {
    /// The answer is there; the call is over when all of it has been sent. A server that failed counts as an error.
    pub(crate) fn answered(mut self, answer: Response<Body>) -> Response<Body> {
        self.has_failed = answer.status().is_server_error();
        answer.map(|body| body.holding(self))
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let now = self.clock.now();
        let took = now.millis().saturating_sub(self.begun.millis());
        if let Some(system) = &self.system {
            system.end(now, took);
        }
        if let Some(resource) = &self.resource {
            resource.leave_isolation();
            for breaker in &resource.breakers {
                breaker.completed(now, took, self.has_failed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
