//! The instances of one app, kept up to date by queries that the agent answers when something changes
//! ([Blocking Queries](https://developer.hashicorp.com/consul/api-docs/features/blocking)).

use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::{Publisher, Resolution};
use invoke_core::error::ResolveError;
use percent_encoding::utf8_percent_encode;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::COMPONENT;
use super::agent::{Agent, AgentError};
use super::answer::{endpoints, index};
use super::settings::{PLAIN, Query};
use crate::trouble::Trouble;

/// How long an answer may take that need not wait for anything.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two queries, so that an app that changes all the time does not keep the agent busy.
const PAUSE: Duration = Duration::from_millis(50);
/// How often is asked where the agent cannot be waited for.
const POLL: Duration = Duration::from_secs(1);

/// What all apps share.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) agent: Agent,
    pub(super) query: Query,
    pub(super) port_key: String,
    /// How many queries may wait for a change at once: an agent lets one host have 200 connections, and has more than
    /// one sidecar. Apps beyond are asked for every second.
    pub(super) places: Semaphore,
}

/// An answer: its index, and what it says.
struct Told {
    index: u64,
    found: Result<Vec<invoke_core::balance::Endpoint>, String>,
}

impl Watching {
    /// Asks for an app; with an index the agent answers when there is something newer.
    async fn ask(&self, app_id: &str, newer_than: Option<u64>) -> Result<Told, AgentError> {
        let name = utf8_percent_encode(app_id, PLAIN);
        let parameters = self.query.with(&self.agent.parameters, newer_than);
        let target = format!("/v1/health/service/{name}?{parameters}");
        // The agent adds up to a sixteenth, so that not all come back at once.
        let limit = newer_than.map_or(LIMIT, |_| self.query.wait + self.query.wait / 16 + LIMIT);
        let answer = self
            .agent
            .get(&target, &self.query.token, &self.query.caching, limit)
            .await?;
        Ok(Told {
            index: index(&answer.headers),
            found: endpoints(app_id, &self.port_key, &answer.body),
        })
    }
}

/// Keeps the instances of an app up to date until nobody looks or there are none.
pub(super) async fn keep(watching: Arc<Watching>, app_id: String, publisher: Publisher) {
    tokio::select! {
        () = publisher.closed() => {}
        () = follow(&watching, &app_id, &publisher) => {}
    }
}

async fn follow(watching: &Watching, app_id: &str, publisher: &Publisher) {
    let mut place = None;
    let mut last = 0;
    let mut trouble = Trouble::new(COMPONENT);
    loop {
        // One who finds no place asks again and again instead.
        place = place.or_else(|| watching.places.try_acquire().ok());
        let begun = Instant::now();
        let newer_than = Some(last).filter(|last| *last > 0 && place.is_some());
        let answered = watching.ask(app_id, newer_than).await;
        let failure = match answered {
            Ok(Told {
                index,
                found: Ok(found),
            }) => {
                publisher.publish(found);
                trouble.over();
                let is_early = newer_than == Some(index) && begun.elapsed() < watching.query.wait / 2;
                // An index that goes back is that of an agent that has begun anew, and says nothing of the one before.
                last = if index < last { 0 } else { index };
                let waits = place.is_some() && index > 0 && !is_early;
                sleep(if waits { PAUSE } else { POLL }).await;
                continue;
            }
            // There are none, by an answer that can be read. One that cannot is no news.
            Ok(Told { found: Err(text), .. }) if !text.starts_with(UNREADABLE) => {
                publisher.fail(ResolveError::new(text));
                return;
            }
            Ok(Told { found: Err(text), .. }) => text,
            Err(error) => format!("{UNREADABLE}: {error}"),
        };
        last = 0;
        let is_known = matches!(publisher.now(), Resolution::Endpoints(_));
        if !is_known || trouble.is_stale() {
            publisher.fail(ResolveError::new(failure));
            return;
        }
        sleep(trouble.next(&failure)).await;
    }
}

/// What stands in front of the reason when there is no usable answer.
const UNREADABLE: &str = "failed to query healthy consul services";
