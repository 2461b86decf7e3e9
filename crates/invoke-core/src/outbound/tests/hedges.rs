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

/// What an attempt to an endpoint comes to.
#[derive(Clone, Copy, Debug)]
enum End {
    Answer,
    Failure,
    /// Nobody saw the call.
    Refusal,
    /// The sidecar answers that its app has not seen it.
    Unseen,
}

/// What the attempts to endpoints come to, in their order, and after which time.
#[derive(Clone, Default)]
struct Lanes {
    plan: Arc<Mutex<VecDeque<(u64, End)>>>,
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
        let (millis, end) = self.plan.lock().unwrap().pop_front().unwrap();
        let mut given_up = GivenUp(self.clone(), name, false);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        given_up.2 = true;
        match end {
            End::Failure => return Err(unavailable(Delivery::Maybe)),
            End::Refusal => return Err(unavailable(Delivery::No)),
            End::Answer | End::Unseen => {}
        }
        let mut reply = Reply::new(WireStatus::http(http::StatusCode::OK), Route::Local);
        reply.is_unseen = matches!(end, End::Unseen);
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
    plan: &[(u64, End)],
    endpoints: &[&'static str],
    may: bool,
    body: Body,
) -> (String, u128, usize, usize) {
    let lanes = Lanes::default();
    lanes.plan.lock().unwrap().extend(plan);
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let outbound = Outbound::with(
        Arc::clone(&identity),
        Arc::new(Inbound::new(identity, Some(Echo), AllowAll)),
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
    places.sort_by_key(|place| place.rsplit(' ').next().unwrap().to_owned());
    places.dedup_by_key(|place| place.rsplit(' ').next().unwrap().to_owned());
    assert_eq!(places.len(), sent, "each went to another endpoint: {notes:?}");
    (text, begun.elapsed().as_millis(), sent, given_up)
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_counts_and_the_other_attempt_is_given_up() {
    use End::{Answer, Failure, Refusal, Unseen};
    const GONE: &str = "rpc error: code = Unavailable desc = gone";
    let two = &["one:1", "two:2"][..];
    for (plan, endpoints, may, wanted) in [
        (&[(5, Answer)][..], two, true, ("0 hi", 5, 1, 0)),
        (&[(5, Failure)], two, true, (GONE, 5, 1, 0)),
        (&[(1000, Answer), (20, Answer)], two, true, ("1 hi", 30, 2, 1)),
        (&[(15, Answer), (1000, Answer)], two, true, ("0 hi", 15, 2, 1)),
        // A failure is no answer while the other attempt may still give one.
        (&[(15, Failure), (50, Answer)], two, true, ("1 hi", 60, 2, 0)),
        (&[(100, Answer), (5, Failure)], two, true, ("0 hi", 100, 2, 0)),
        (&[(100, Failure), (5, Failure)], two, true, (GONE, 100, 2, 0)),
        // Neither is the word of a sidecar whose app has not seen the call.
        (&[(100, Answer), (5, Unseen)], two, true, ("0 hi", 100, 2, 0)),
        (&[(15, Unseen), (50, Answer)], two, true, ("1 hi", 60, 2, 0)),
        // Where one attempt is, the other does not go.
        (&[(100, Answer), (5, Refusal)], two, true, ("0 hi", 100, 2, 0)),
        (&[(15, Refusal), (50, Answer)], two, true, ("1 hi", 60, 2, 0)),
        (&[(5, Refusal), (50, Answer)], two, true, ("1 hi", 55, 2, 0)),
        // No budget, and no other endpoint.
        (&[(100, Answer)], two, false, ("0 hi", 100, 1, 0)),
        (&[(100, Answer)], &two[..1], true, ("0 hi", 100, 1, 0)),
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
    let (text, _, sent, _) = made(&[(100, End::Answer)], two, true, Body::stream(body)).await;
    assert_eq!((text.as_str(), sent), ("0 hi", 1));
}
