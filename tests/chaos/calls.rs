//! Calls at a steady rate, and what came of each.

use std::time::Duration;

use reqwest::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// When it began, from the beginning of the scene.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    /// Why it failed: a status, or the caller's own time.
    pub(crate) failure: Option<String>,
}

fn client() -> Client {
    Client::builder()
        .timeout(PATIENCE)
        .build()
        .expect("a client of HTTP")
}

/// The first calls find the app and make connections.
pub(crate) async fn warm_up(url: &str) {
    let client = client();
    for _ in 0..50 {
        let _ = call(&client, url).await;
    }
}

/// Makes calls, whether earlier ones have ended or not, as independent callers do.
pub(crate) async fn make(url: String, rate: u32, length: Duration) -> Vec<Made> {
    let client = client();
    let begun = Instant::now();
    let mut pace = interval(Duration::from_secs(1) / rate);
    // A machine that was busy for a moment must not make up for it with a burst.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = JoinSet::new();
    while begun.elapsed() < length {
        pace.tick().await;
        let (client, url) = (client.clone(), url.clone());
        calls.spawn(async move {
            let at = begun.elapsed();
            let failure = call(&client, &url).await.err();
            Made {
                at,
                took: begun.elapsed().saturating_sub(at),
                failure,
            }
        });
    }
    calls.join_all().await
}

async fn call(client: &Client, url: &str) -> Result<(), String> {
    let answer = client.get(url).send().await.map_err(|error| {
        if error.is_timeout() {
            "no answer".to_owned()
        } else {
            "broken".to_owned()
        }
    })?;
    let status = answer.status();
    if !status.is_success() {
        return Err(status.as_u16().to_string());
    }
    let text = answer.text().await.map_err(|_| "broken".to_owned())?;
    if text == "done" {
        Ok(())
    } else {
        Err("a wrong answer".to_owned())
    }
}
