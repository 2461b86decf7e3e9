//! The client against an operator that speaks the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use identity::{AnchorSource, ControlPlane, Identity, Mode, TokenSource, TrustDomain};
use integration_tests::operator::{Operator as Fake, OperatorAnswer, OperatorRequest, Pushed};
use integration_tests::pki::Authority;
use integration_tests::sentry::Sentry;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};

use super::*;
use crate::watch::{Change, Event, Kind};

/// The identity of a sidecar that this sentry knows.
async fn tls(sentry: &Sentry) -> ClientTls {
    let settings = identity::Settings {
        app_id: "app".to_owned(),
        namespace: "default".to_owned(),
        sentry_address: sentry.address.clone(),
        control_plane: ControlPlane {
            trust_domain: TrustDomain::parse("localhost").unwrap(),
            namespace: "default".to_owned(),
        },
        anchors: AnchorSource {
            value: Some(sentry.anchors()),
            file: None,
        },
        token: TokenSource::new(Mode::Standalone, None),
        jwt_audiences: Vec::new(),
    };
    let identity = Identity::obtain(settings, Arc::default(), &StartupWait::default())
        .await
        .unwrap();
    identity.control_plane_tls("dapr-operator").unwrap()
}

async fn connected(
    sentry: &Sentry,
    behaviour: impl Fn(&OperatorRequest) -> OperatorAnswer + Send + Sync + 'static,
) -> (Fake, Operator) {
    let fake = Fake::start(sentry.authority(), behaviour).await;
    let settings = Settings {
        address: fake.address.clone(),
        tls: tls(sentry).await,
    };
    let operator = Operator::connect(settings, &StartupWait::default())
        .await
        .unwrap();
    (fake, operator)
}

#[tokio::test]
async fn resources() {
    let sentry = Sentry::start().await;
    let (fake, operator) = connected(&sentry, |asked| match asked.method.as_str() {
        "GetConfiguration" if asked.fields[&1] == "c" => OperatorAnswer::Resources(vec!["{}".to_owned()]),
        "GetConfiguration" => OperatorAnswer::Resources(Vec::new()),
        "ListHTTPEndpoints" => OperatorAnswer::Resources(vec!["1".to_owned(), "2".to_owned()]),
        "ListResiliency" if asked.fields[&1] == "ns" => OperatorAnswer::Resources(vec!["3".to_owned()]),
        _ => OperatorAnswer::Status(7, "not yours"),
    })
    .await;
    assert_eq!(operator.configuration("c", "ns").await.unwrap(), "{}");
    let missing = operator.configuration("d", "").await.unwrap_err();
    assert_eq!(missing.to_string(), "configuration d not found");
    assert_eq!(operator.http_endpoints("ns").await.unwrap(), ["1", "2"]);
    assert_eq!(operator.resiliency("ns").await.unwrap(), ["3"]);
    let denied = operator.components("ns").await.unwrap_err();
    assert_eq!(
        denied.to_string(),
        "rpc error: code = PermissionDenied desc = not yours"
    );
    let seen = fake.seen();
    assert_eq!(seen.len(), 5, "what is refused is not asked for again: {seen:?}");
    assert_eq!(seen[0].fields[&2], "ns");
    assert!(!seen[1].fields.contains_key(&2), "an empty namespace is not sent");
}

#[tokio::test]
async fn an_operator_that_is_busy_is_asked_again() {
    let sentry = Sentry::start().await;
    let count = AtomicU32::new(0);
    let (fake, operator) = connected(&sentry, move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < 3 {
            OperatorAnswer::Status(14, "starting")
        } else {
            OperatorAnswer::Resources(vec!["x".to_owned()])
        }
    })
    .await;
    assert_eq!(operator.components("").await.unwrap(), ["x"]);
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn an_operator_that_stays_busy_is_asked_a_hundred_times() {
    let sentry = Sentry::start().await;
    let (fake, operator) = connected(&sentry, |_| OperatorAnswer::Status(8, "busy")).await;
    let error = operator.components("").await.unwrap_err().to_string();
    assert_eq!(error, "rpc error: code = ResourceExhausted desc = busy");
    assert_eq!(fake.seen().len(), 100);
}

/// The next answer would be as long, and all sidecars of the cluster would fetch it again and again.
#[tokio::test]
async fn an_answer_that_is_too_long_is_asked_for_once() {
    let sentry = Sentry::start().await;
    let (fake, operator) = connected(&sentry, |_| OperatorAnswer::Bytes(vec![0; LONGEST_ANSWER + 1])).await;
    let error = operator.components("").await.unwrap_err().to_string();
    let wanted = format!("larger than max ({} vs. {LONGEST_ANSWER})", LONGEST_ANSWER + 1);
    assert!(error.contains(&wanted), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn rubbish_is_refused() {
    let sentry = Sentry::start().await;
    let (_fake, operator) = connected(&sentry, |_| OperatorAnswer::Bytes(vec![0x0a, 0xff, 1])).await;
    let error = operator.components("").await.unwrap_err().to_string();
    assert!(
        error.starts_with("rpc error: code = Internal desc = grpc: failed to unmarshal"),
        "{error}"
    );
}

#[tokio::test]
async fn only_the_operator_is_believed() {
    let sentry = Sentry::start().await;
    let tls = tls(&sentry).await;
    let stranger = Authority::new();
    let id = "spiffe://localhost/ns/default/dapr-operator";
    let limit = Duration::from_millis(100);
    for (shown, wanted) in [
        (
            sentry
                .authority()
                .issue("spiffe://localhost/ns/default/dapr-placement"),
            "unexpected ID",
        ),
        (
            sentry
                .authority()
                .issue("spiffe://public/ns/default/dapr-operator"),
            "unexpected ID",
        ),
        (stranger.issue(id), "could not verify leaf certificate"),
    ] {
        let fake = Fake::start_as(sentry.authority(), shown.certified(), |_| {
            OperatorAnswer::Resources(Vec::new())
        })
        .await;
        let settings = Settings {
            address: fake.address.clone(),
            tls: tls.clone(),
        };
        let error = Operator::connect_within(settings, limit, &StartupWait::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(fake.seen().is_empty());
    }
}

#[tokio::test]
async fn an_operator_that_is_not_there() {
    let sentry = Sentry::start().await;
    let tls = tls(&sentry).await;
    let of = |address: &str| {
        let settings = Settings {
            address: address.to_owned(),
            tls: tls.clone(),
        };
        let waiting = StartupWait::default();
        async move {
            let begun = Instant::now();
            let connected = Operator::connect_within(settings, Duration::from_millis(700), &waiting).await;
            (connected, begun.elapsed(), waiting.reason())
        }
    };
    let (connected, elapsed, reason) = of("127.0.0.1:1").await;
    let error = connected.unwrap_err().to_string();
    let refused = "Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused";
    assert!(error.contains(refused), "{error}");
    assert_eq!(
        reason,
        Some(format!(
            "context canceled: connection error: desc = \"transport: {refused}\""
        ))
    );
    // Not before the time is over, although the next pause would end after it.
    assert!(elapsed >= Duration::from_millis(700), "{elapsed:?}");
    for address in ["", "a b", "/"] {
        assert!(
            matches!(of(address).await.0, Err(OperatorError::Address)),
            "{address:?}"
        );
    }
}

/// Nobody listens at the address meanwhile; time goes on only when the client waits.
#[tokio::test]
async fn an_operator_that_is_away_for_a_day_is_found_again() {
    let sentry = Sentry::start().await;
    let (changes, _) = broadcast::channel(8);
    let events = changes.clone();
    let (fake, operator) = connected(&sentry, move |_| OperatorAnswer::Events(events.clone())).await;
    let address = fake.address.clone();
    let (heard, mut listener) = mpsc::channel(64);
    let watch = tokio::spawn(async move { operator.watch(Kind::Resiliency, "ns", &heard).await });
    assert!(matches!(
        listener.recv().await,
        Some(Event::Listening(Kind::Resiliency))
    ));

    drop(fake);
    tokio::time::pause();
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    assert!(begun.elapsed() >= Duration::from_secs(24 * 60 * 60));
    assert!(!watch.is_finished());
    assert!(listener.try_recv().is_err(), "there is nothing to list from");

    // A clock that stands still until the connection is made, whatever the machine takes for that.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let stopped = tokio::task::spawn_blocking(move || is_done.recv());
    let socket = TcpListener::bind(&address).await.unwrap();
    let id = "spiffe://localhost/ns/default/dapr-operator";
    let shown = sentry.authority().issue(id).certified();
    let events = changes.clone();
    let again = Fake::start_on(socket, sentry.authority(), shown, move |_| {
        OperatorAnswer::Events(events.clone())
    });
    // The longest pause, scattered by a half of it.
    tokio::time::advance(Duration::from_secs(90)).await;
    assert!(matches!(
        listener.recv().await,
        Some(Event::Listening(Kind::Resiliency))
    ));
    while again.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    changes.send(Pushed::Event(2, "{}".to_owned())).unwrap();
    let told = listener.recv().await;
    assert!(
        matches!(&told, Some(Event::Changed(Kind::Resiliency, Change::Set, json)) if json == "{}"),
        "{told:?}"
    );
    drop(done);
    let _ = stopped.await.unwrap();
}
