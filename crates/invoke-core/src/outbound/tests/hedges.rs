//! Calls that are made to a second endpoint when the first takes long; what peers are told of the time of an attempt.

use super::*;
use crate::attempts::{CallFacts, Named, Outcome, Run, Verdict};
use crate::body::BodyError;

/// Makes calls twice after ten milliseconds, and has a time limit of a minute.
#[derive(Clone, Copy)]
struct Hedged {
    may: bool,
}

impl Attempts for Hedged {
    type Policy = ();
    type Run = Self;

    fn policy(&self, _: Named<'_>, _: &str) -> Option<()> {
        Some(())
    }

    fn begin(&self, (): &(), _: CallFacts<'_>) -> Option<Self> {
        Some(*self)
    }
}

impl Run for Hedged {
    fn admit(&mut self) -> Result<Option<tokio::time::Instant>, InvokeError> {
        Ok(Some(tokio::time::Instant::now() + Duration::from_secs(60)))
    }

    fn hedges_after(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    fn may_hedge(&self) -> bool {
        self.may
    }

    fn judge(&mut self, _: Outcome<'_>) -> Verdict {
        Verdict::Done
    }
}

/// What the attempts to endpoints come to, in their order: after which time, and whether it is an answer.
#[derive(Clone, Default)]
struct Lanes {
    plan: Arc<Mutex<VecDeque<(u64, bool)>>>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Lanes {
    fn note(&self, what: String) {
        self.notes.lock().unwrap().push(what);
    }
}

/// Notes that an attempt was given up.
struct GivenUp(Lanes, String, bool);

impl Drop for GivenUp {
    fn drop(&mut self) {
        if !self.2 {
            self.0.note(format!("{} given up", self.1));
        }
    }
}

impl Peers for Lanes {
    async fn invoke(
        &self,
        _: &AppRef,
        to: &Endpoint,
        _: &Head,
        until: Option<std::time::Instant>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        assert!(until.is_some(), "the peer is told of the time of the attempt");
        let index = self.notes.lock().unwrap().len();
        let name = format!("{index} to {}", to.address());
        self.note(name.clone());
        let (millis, is_answer) = self.plan.lock().unwrap().pop_front().unwrap();
        let mut given_up = GivenUp(self.clone(), name, false);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        given_up.2 = true;
        if !is_answer {
            return Err(unavailable(Seen::Maybe));
        }
        let mut reply = Reply::new(WireStatus::http(http::StatusCode::OK), Route::Local);
        let sent = body.collect().await.unwrap().to_bytes();
        reply.body = Body::full(format!("{index} {}", String::from_utf8_lossy(&sent)));
        Ok(reply)
    }

    async fn proxy(
        &self,
        _: &AppRef,
        _: &Endpoint,
        _: &ProxiedHead,
        _: Option<std::time::Instant>,
        _: Body,
    ) -> Result<Response<Body>, InvokeError> {
        unreachable!("nothing is proxied")
    }
}

/// Makes a call; gives the body or the error, how long it took, where it went and what was given up.
async fn made(
    plan: &[(u64, bool)],
    endpoints: &[&'static str],
    may: bool,
    body: Body,
) -> (String, u128, usize, usize) {
    let lanes = Lanes::default();
    lanes.plan.lock().unwrap().extend(plan);
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let outbound = Outbound::with(
        Arc::clone(&identity),
        Arc::new(Inbound::new(identity, Some(Echo), Open)),
        lanes.clone(),
        NoExternalEndpoints,
        Some(Arc::new(Known(endpoints.to_vec()))),
        Arc::default(),
        Hedged { may },
    );
    let begun = tokio::time::Instant::now();
    let mut sent = call("");
    sent.body = body;
    let text = match outbound.invoke("you", sent).await {
        Ok(reply) => {
            let bytes = reply.body.collect().await.unwrap().to_bytes();
            String::from_utf8(bytes.to_vec()).unwrap()
        }
        Err(error) => error.to_string(),
    };
    let notes = lanes.notes.lock().unwrap();
    let given_up = notes.iter().filter(|note| note.ends_with("given up")).count();
    let mut places: Vec<_> = notes.iter().filter(|note| !note.ends_with("given up")).collect();
    let sent = places.len();
    places.dedup_by_key(|place| place.rsplit(' ').next().unwrap().to_owned());
    assert_eq!(places.len(), sent, "each went to another endpoint: {notes:?}");
    (text, begun.elapsed().as_millis(), sent, given_up)
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_counts_and_the_other_attempt_is_given_up() {
    const GONE: &str = "rpc error: code = Unavailable desc = gone";
    let two = &["one:1", "two:2"][..];
    for (plan, endpoints, may, wanted) in [
        (&[(5, true)][..], two, true, ("0 hi", 5, 1, 0)),
        (&[(5, false)], two, true, (GONE, 5, 1, 0)),
        (&[(1000, true), (20, true)], two, true, ("1 hi", 30, 2, 1)),
        (&[(15, true), (1000, true)], two, true, ("0 hi", 15, 2, 1)),
        // A failure is no answer while the other attempt may still give one.
        (&[(15, false), (50, true)], two, true, ("1 hi", 60, 2, 0)),
        (&[(100, true), (5, false)], two, true, ("0 hi", 100, 2, 0)),
        (&[(100, false), (5, false)], two, true, (GONE, 100, 2, 0)),
        // No budget, and no other endpoint.
        (&[(100, true)], two, false, ("0 hi", 100, 1, 0)),
        (&[(100, true)], &two[..1], true, ("0 hi", 100, 1, 0)),
    ] {
        let (text, millis, sent, given_up) = made(plan, endpoints, may, Body::full("hi")).await;
        assert_eq!((text.as_str(), millis, sent, given_up), wanted, "{plan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_streams_is_sent_once() {
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, BodyError>::new(1);
    sender.send_data("hi".into()).await.unwrap();
    drop(sender);
    let two = &["one:1", "two:2"];
    let (text, _, sent, _) = made(&[(100, true)], two, true, Body::stream(body)).await;
    assert_eq!((text.as_str(), sent), ("0 hi", 1));
}
