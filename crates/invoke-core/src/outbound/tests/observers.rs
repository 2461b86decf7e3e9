//! Observers: told of every exchange where it happens, and of how it ended.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::attempts::Named;
use crate::body::End;
use crate::observe::{Call, Exchange, Observe, Ticket};

/// Counts exchanges, and writes down what it is told.
#[derive(Clone, Default)]
struct Counting(Arc<Counts>);

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    told: Mutex<Vec<String>>,
}

impl Counting {
    fn take(&self) -> Vec<String> {
        assert_eq!(self.0.open.load(Ordering::SeqCst), 0, "every exchange has ended");
        std::mem::take(&mut *self.0.told.lock().unwrap())
    }
}

struct Counted {
    of: Counting,
    place: String,
    status: Option<i32>,
}

impl Observe for Counting {
    type Ticket = Counted;
    type Meters = String;

    fn meters(&self, target: Named<'_>, _: &str) -> String {
        match target {
            Named::Peer(app) => app.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn begin(&self, exchange: Exchange<'_>, meters: Option<&String>) -> Counted {
        let place = match exchange {
            Exchange::Attempt {
                endpoint: Some(endpoint),
                ..
            } => format!("{} at {endpoint:?}", meters.unwrap()),
            Exchange::Received { .. } => "received".to_owned(),
            Exchange::App(Call::Invoked(head)) => format!("app {}", head.method),
            other => panic!("{other:?}"),
        };
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Counted {
            of: self.clone(),
            place,
            status: None,
        }
    }
}

impl Ticket for Counted {
    fn status(&mut self, status: i32) {
        self.status = Some(status);
    }

    fn end(self, end: End<'_>, bytes: u64) {
        let told = format!("{}: {:?} {end:?} {bytes}", self.place, self.status);
        self.of.0.told.lock().unwrap().push(told);
        self.of.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

type Observed =
    Outbound<Echo, AllowAll, Arc<Script>, NoExternalEndpoints, BuiltInRetry, (Counting, Counting)>;

fn observed() -> (Observed, Arc<Script>, [Counting; 2]) {
    let script = Arc::new(Script::default());
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let both = [Counting::default(), Counting::default()];
    let observer = Arc::new((both[0].clone(), both[1].clone()));
    let outbound = Outbound::with(
        Arc::clone(&identity),
        Arc::new(Inbound::observed(identity, Some(Echo), AllowAll, observer)),
        Arc::clone(&script),
        NoExternalEndpoints,
        Some(Arc::new(Known(vec!["one:1", "two:2"]))),
        Arc::default(),
        BuiltInRetry::default(),
    );
    (outbound, script, both)
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_an_exchange() {
    let (outbound, script, observers) = observed();
    script.answers.lock().unwrap().extend([
        Err(unavailable(Delivery::No)),
        Err(unavailable(Delivery::Maybe)),
        Ok(()),
    ]);
    drop(outbound.invoke("you", call("body")).await.unwrap());
    let places = places(&script);
    for observer in observers {
        let wanted: Vec<_> = [("None", "Dropped"), ("None", "Dropped"), ("Some(200)", "Whole")]
            .iter()
            .zip(&places)
            .map(|((status, end), place)| format!("ns/you at {place}: {status} {end} 0"))
            .collect();
        assert_eq!(observer.take(), wanted);
    }
}

#[tokio::test]
async fn calls_of_the_app_and_of_others_are_seen() {
    let (outbound, _, [observer, _]) = observed();
    outbound.invoke("me", call("body")).await.unwrap();
    assert_eq!(observer.take(), ["app m: Some(200) Whole 0"]);
    let caller = Caller::default();
    outbound.inbound.receive(&caller, call("body")).await.unwrap();
    let told = observer.take();
    assert_eq!(told, ["app m: Some(200) Whole 0", "received: Some(200) Whole 0"]);
}

/// A peer that never answers.
struct Silence;

impl Peers for Silence {
    async fn invoke(
        &self,
        _: &AppRef,
        _: &Endpoint,
        _: &Head,
        _: Option<std::time::Instant>,
        _: Body,
    ) -> Result<Reply, InvokeError> {
        std::future::pending().await
    }

    async fn proxy(
        &self,
        _: &AppRef,
        _: &Endpoint,
        _: &ProxiedHead,
        _: Option<std::time::Instant>,
        _: Body,
    ) -> Result<Response<Body>, InvokeError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_ends_the_exchange() {
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let observer = Counting::default();
    let outbound = Outbound::with(
        Arc::clone(&identity),
        Arc::new(Inbound::observed(
            identity,
            Some(Echo),
            AllowAll,
            Arc::new(observer.clone()),
        )),
        Silence,
        NoExternalEndpoints,
        Some(Arc::new(Known(vec!["one:1"]))),
        Arc::default(),
        BuiltInRetry::default(),
    );
    let limit = Duration::from_secs(1);
    assert!(
        tokio::time::timeout(limit, outbound.invoke("you", call("")))
            .await
            .is_err()
    );
    assert_eq!(observer.take(), ["ns/you at one:1: None Dropped 0"]);
}
