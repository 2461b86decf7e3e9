//! Calls on one connection, which nobody may close.

use std::time::Instant;

use integration_tests::RawClient;

use crate::tally::{Outcome, Tally};

/// Calls the endpoint and the apps in turn until `end`. A connection that was closed is a call that failed.
pub(crate) async fn call_until(port: u16, end: Instant, tally: &Tally) {
    let mut client = RawClient::connect(port).await;
    let mut targets = ["soak-web", "soak-http", "soak-h2c"].iter().cycle();
    while Instant::now() < end {
        let target = targets.next().expect("they go round");
        let request = format!(
            "POST /v1.0/invoke/{target}/method/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nping"
        );
        let answer = if client.try_send(request).await {
            client.receive().await
        } else {
            None
        };
        tally.note(match answer {
            Some(answer) if answer.status() == 200 && answer.body == b"ping" => Outcome::Right,
            Some(answer) => Outcome::Failed(format!("{}: {}", answer.status(), answer.text())),
            None => {
                client = RawClient::connect(port).await;
                Outcome::Failed(format!("the connection was closed before an answer of {target}"))
            }
        });
    }
}
