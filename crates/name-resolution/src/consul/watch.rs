//! The instances of one app, kept up to date by queries that the agent answers when something changes
//! ([Blocking Queries](https://developer.hashicorp.com/consul/api-docs/features/blocking)).

use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::{Endpoint, Publisher, Resolution};
use invoke_core::error::ResolveError;
use percent_encoding::utf8_percent_encode;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::COMPONENT;
use super::agent::{Agent, AgentError};
use super::answer::{NoEndpoints, endpoints, index};
use super::settings::{PLAIN, Query};
use crate::trouble::Trouble;

/// How long an answer may take that need not wait for anything.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two queries, so that an app that changes all the time does not keep the agent busy.
const PAUSE: Duration = Duration::from_millis(50);
/// How often is asked where the agent cannot be waited for.
const POLL: Duration = Duration::from_secs(1);

/// For how long an agent that has begun anew is not believed that nobody is there: sidecars look every half a minute
/// whether it still knows them.
const ANEW: Duration = Duration::from_secs(90);

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
    found: Result<Vec<Endpoint>, NoEndpoints>,
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
    // When the agent last said that there are instances, and since when one that has begun anew says that there are none.
    let (mut known_at, mut anew) = (0, None);
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
                (known_at, anew) = (index, None);
                let is_early = newer_than == Some(index) && begun.elapsed() < watching.query.wait / 2;
                // An index that goes back is that of an agent that has begun anew, and says nothing of the one before.
                last = if index < last { 0 } else { index };
                let waits = place.is_some() && index > 0 && !is_early;
                sleep(if waits { PAUSE } else { POLL }).await;
                continue;
            }
            Ok(Told {
                index,
                found: Err(nobody @ NoEndpoints::Nobody(_)),
            }) => {
                let began_anew = index > 0 && index < known_at;
                if !began_anew || anew.get_or_insert_with(Instant::now).elapsed() >= ANEW {
                    publisher.fail(ResolveError::new(nobody.to_string()));
                    return;
                }
                format!("the agent has begun anew: {nobody}")
            }
            // What cannot be read is no news.
            Ok(Told {
                found: Err(unreadable @ NoEndpoints::Unreadable(_)),
                ..
            }) => unreadable.to_string(),
            Err(error) => format!("failed to query healthy consul services: {error}"),
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
