//! Services with more targets than are looked up.

use std::collections::HashSet;

use super::*;

const SERVICES: &str = "_dapr._tcp.app";

/// A service that is told first, and hundreds more, each with a target of its own.
fn services() -> Said {
    let service = |port, target: &str| srv(SERVICES, (1, 1, port), target);
    let mut services = vec![service(1, "first.app")];
    services.extend((2..=300).map(|port| service(port, &format!("{port}.app"))));
    Said::Truncated(services)
}

/// The targets that were asked for so far.
fn asked(server: &Server) -> usize {
    let asked = server.asked.lock().unwrap();
    let targets = asked.iter().filter(|(_, kind)| *kind != SERVICE);
    targets.map(|(name, _)| name).collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn of_very_many_targets_not_all_are_looked_up() {
    let server = Server::start(|_, kind| match kind {
        SERVICE => services(),
        A => Said::Records(vec![a("", 60, 1)], vec![]),
        _ => Said::Error(0),
    })
    .await;
    let resolver = server.resolver("_dapr._tcp.{appid}", "srv", 0);
    assert_eq!(first(&resolver).await.unwrap().len(), 256);
    assert_eq!(asked(&server), 256);
}

/// Of targets that are not answered a few are asked for at once, and all of them have a time limit: those that were found
/// until then are called.
#[tokio::test]
async fn targets_that_are_not_answered_are_few_at_once_and_not_for_long() {
    let server = Server::start(|name, kind| match (name, kind) {
        (_, SERVICE) => services(),
        ("first.app.", A) => Said::Records(vec![a("first.app", 60, 1)], vec![]),
        ("first.app.", _) => Said::Error(0),
        _ => Said::Nothing,
    })
    .await;
    let resolver = server.resolver("_dapr._tcp.{appid}", "srv", 0);
    let (found, elapsed) = tokio::join!(first(&resolver), async {
        // That which was answered made room for one more.
        while asked(&server) < 1 + AT_ONCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Further ones would be asked for by now.
        tokio::time::sleep(Duration::from_millis(20)).await;
        tokio::time::pause();
        assert_eq!(asked(&server), 1 + AT_ONCE);
        let begun = tokio::time::Instant::now();
        let watch = resolver.watch(&AppRef::new("app", "ns"));
        watch.first().await;
        begun.elapsed()
    });
    assert_eq!(found, Ok(self::found(&[("10.0.0.1:1", 1)])));
    // The clock may have gone on while an answer was on its way. Without the limit it would be more than a minute.
    assert!(elapsed < 2 * ALL_TARGETS, "{elapsed:?}");
    assert!(asked(&server) < TARGETS, "no time is left for the others");
}
