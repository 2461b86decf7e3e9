//! Calls under policies: the loop asks, and policies answer.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::BodyError;
use crate::attempts::{CallFacts, Named, Outcome, Road, Run, Verdict};
use crate::body::End;

/// A policy that tries twice more whatever came, and writes down what it was told.
#[derive(Clone, Default)]
struct Twice {
    told: Arc<Mutex<Vec<String>>>,
    deadline: Option<Duration>,
    is_shut: bool,
}

impl Twice {
    fn note(&self, what: impl Into<String>) {
        self.told.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

struct TwiceRun(Twice, u32);

impl Attempts for Twice {
    type Policy = ();
    type Run = TwiceRun;

    fn policy(&self, target: Named<'_>, written: &str) -> Option<()> {
        self.note(format!("policy of {target:?} as {written}"));
        Some(())
    }

    fn begin(&self, (): &(), _: CallFacts<'_>) -> Option<TwiceRun> {
        Some(TwiceRun(self.clone(), 0))
    }
}

impl Run for TwiceRun {
    fn admit(&mut self) -> Result<Option<tokio::time::Instant>, InvokeError> {
        if self.0.is_shut {
            let open = Cause::App {
                text: "circuit breaker is open".into(),
                source: None,
            };
            return Err(InvokeError::unsent(Fault::Us, open));
        }
        Ok(self.0.deadline.map(|limit| tokio::time::Instant::now() + limit))
    }

    fn wants_status(&self) -> bool {
        true
    }

    fn judge(&mut self, outcome: Outcome<'_>) -> Verdict {
        self.1 += 1;
        let is_failure = match outcome {
            Outcome::Answered(status) => {
                self.0.note(format!("{status:?}"));
                status.is_some_and(|status| status >= 500 || (1..100).contains(&status))
            }
            Outcome::Unseen(status) => {
                self.0.note(format!("unseen {status}"));
                true
            }
            Outcome::Failed(error) => {
                self.0.note(format!("{:?} {error}", error.seen));
                true
            }
        };
        if is_failure && self.1 <= 2 {
            Verdict::Again(Duration::from_secs(1))
        } else {
            Verdict::Done
        }
    }

    fn wants_end(&self) -> bool {
        true
    }

    fn ended(self, end: End<'_>, status: Option<i32>) {
        self.0.note(format!("{end:?} {status:?}"));
    }
}

/// An app whose first answers are failures.
#[derive(Clone)]
struct Moody {
    failures: Arc<AtomicU32>,
    trailers_only: bool,
    hangs: bool,
}

impl Moody {
    fn fails(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }
}

impl AppChannel for Moody {
    async fn invoke(&self, _: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        let code = if self.fails() { 500 } else { 200 };
        let mut reply = Reply::new(
            WireStatus {
                code,
                ..WireStatus::default()
            },
            Route::Remote,
        );
        reply.body = body;
        if self.hangs {
            let (sender, hanging) = http_body_util::channel::Channel::<Bytes, BodyError>::new(1);
            reply.body = Body::stream(hanging).on_end(move |_, _| drop(sender));
        }
        Ok(reply)
    }

    async fn proxy(&self, _: Cow<'_, ProxiedHead>, body: Body) -> Result<Response<Body>, InvokeError> {
        let status = if self.fails() { "14" } else { "0" };
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        if self.trailers_only {
            return Ok(echo(trailers));
        }
        let mut frames = std::collections::VecDeque::new();
        if status == "0" {
            frames.push_back(http_body::Frame::data(body.collect().await.unwrap().to_bytes()));
        }
        frames.push_back(http_body::Frame::trailers(trailers));
        Ok(Response::new(Body::stream(Frames(frames))))
    }
}

struct Frames(std::collections::VecDeque<http_body::Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

type Judged = Outbound<Moody, AllowAll, Arc<Script>, NoExternalEndpoints, Twice>;

fn judged(app: Moody, policies: &Twice) -> (Judged, Arc<Script>) {
    let script = Arc::new(Script::default());
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let outbound = Outbound::with(
        Arc::clone(&identity),
        Arc::new(Inbound::new(identity, Some(app), AllowAll)),
        Arc::clone(&script),
        NoExternalEndpoints,
        Some(Arc::new(Known(vec!["one:1"]))),
        Arc::default(),
        policies.clone(),
    );
    (outbound, script)
}

fn moody(failures: u32) -> Moody {
    Moody {
        failures: Arc::new(AtomicU32::new(failures)),
        trailers_only: false,
        hangs: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_judges_answers_of_the_own_app() {
    let policies = Twice::default();
    let (outbound, _) = judged(moody(2), &policies);
    let reply = outbound.invoke("me", call("body")).await.unwrap();
    assert_eq!(reply.status.code, 200);
    assert_eq!(reply.body.collect().await.unwrap().to_bytes(), "body");
    let told = policies.take();
    assert_eq!(told[1..], ["Some(500)", "Some(500)", "Some(200)", "Whole None"]);
    let (outbound, _) = judged(moody(3), &policies);
    assert_eq!(outbound.invoke("me", call("")).await.unwrap().status.code, 500);
}

#[tokio::test(start_paused = true)]
async fn a_policy_judges_failures_of_peers() {
    let policies = Twice::default();
    let (outbound, script) = judged(moody(0), &policies);
    script
        .answers
        .lock()
        .unwrap()
        .extend((0..3).map(|_| Err(unavailable(Delivery::Maybe))));
    let error = outbound.invoke("you", call("body")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "rpc error: code = Unavailable desc = gone",
        "no words of another policy"
    );
    assert_eq!(places(&script).len(), 3);
    outbound.invoke("you", call("body")).await.unwrap();
    let asked = policies
        .take()
        .iter()
        .filter(|told| told.starts_with("policy of"))
        .count();
    assert_eq!(asked, 1, "the policy of a target is looked up once");
}

#[tokio::test(start_paused = true)]
async fn a_proxied_call_is_judged_by_head_message_or_trailers() {
    for (trailers_only, wanted) in [(true, "Some(0)"), (false, "None")] {
        let policies = Twice::default();
        let mut app = moody(2);
        app.trailers_only = trailers_only;
        let (outbound, _) = judged(app, &policies);
        let answer = outbound.proxy("me", proxied("/a.B/C", "hi")).await.unwrap();
        let mut told = policies.take();
        assert_eq!(
            told.drain(..4).skip(1).collect::<Vec<_>>(),
            ["Some(14)", "Some(14)", wanted]
        );
        if trailers_only {
            assert_eq!(told, ["Whole Some(0)"], "its head said all");
        } else {
            let body = answer.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
            assert_eq!(body.to_bytes(), "hi", "the message that was looked at is there");
            assert_eq!(policies.take(), ["Whole Some(0)"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_lasts_to_the_end_of_the_body() {
    let policies = Twice {
        deadline: Some(Duration::from_secs(5)),
        ..Twice::default()
    };
    let mut app = moody(0);
    app.hangs = true;
    let (outbound, _) = judged(app, &policies);
    let begun = tokio::time::Instant::now();
    let reply = outbound.invoke("me", call("")).await.unwrap();
    let error = reply.body.collect().await.unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded");
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(policies.take().last().unwrap(), "Failed(DeadlineExceeded) None");
}

/// Pauses are a second long, and there are two of them. Each row: how long the caller waits, how many attempts there
/// are, and after how long the caller has its answer.
#[tokio::test(start_paused = true)]
async fn no_pause_begins_that_ends_after_the_caller_has_gone() {
    let millis = Duration::from_millis;
    for (patience, attempts, took) in [
        (None, 3, 2000),
        (Some(60_000), 3, 2000),
        (Some(2001), 3, 2000),
        (Some(2000), 2, 1000),
        (Some(1500), 2, 1000),
        (Some(1000), 1, 0),
        (Some(10), 1, 0),
        (Some(0), 1, 0),
    ] {
        let begun = tokio::time::Instant::now();
        let deadline = patience.map(|patience| (begun + millis(patience)).into_std());
        let policies = Twice::default();
        let judged_times = || {
            let told = policies.take();
            told.iter().filter(|told| !told.starts_with("policy of")).count()
        };

        // An answer stays the answer: by the app itself, and passed on.
        let (outbound, _) = judged(moody(5), &policies);
        let mut invoked = call("body");
        invoked.head.deadline = deadline;
        let reply = outbound.invoke("me", invoked).await.unwrap();
        assert_eq!(
            (reply.status.code, judged_times()),
            (500, attempts),
            "{patience:?}"
        );
        assert_eq!(begun.elapsed(), millis(took), "{patience:?}");

        let begun = tokio::time::Instant::now();
        let mut app = moody(5);
        app.trailers_only = true;
        let (outbound, _) = judged(app, &policies);
        let mut passed_on = proxied("/a.B/C", "hi");
        passed_on.head.deadline = patience.map(|patience| (begun + millis(patience)).into_std());
        let answer = outbound.proxy("me", passed_on).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
        assert_eq!(begun.elapsed(), millis(took), "{patience:?} proxied");
        drop(answer);
        policies.take();

        // A fault stays the fault.
        let begun = tokio::time::Instant::now();
        let (outbound, script) = judged(moody(0), &policies);
        let gone = (0..5).map(|_| Err(unavailable(Delivery::Maybe)));
        script.answers.lock().unwrap().extend(gone);
        let mut to_peer = call("body");
        to_peer.head.deadline = patience.map(|patience| (begun + millis(patience)).into_std());
        let error = outbound.invoke("you", to_peer).await.unwrap_err();
        assert_eq!(error.to_string(), "rpc error: code = Unavailable desc = gone");
        assert_eq!(places(&script).len(), attempts, "{patience:?} to a peer");
        assert_eq!(begun.elapsed(), millis(took), "{patience:?} to a peer");
    }
}

/// The retry that is built in has no patience that its caller lacks.
#[tokio::test(start_paused = true)]
async fn the_built_in_retry_gives_up_before_its_caller_does() {
    let (outbound, script) = sidecar(None, vec!["one:1"]);
    let gone = (0..5).map(|_| Err(unavailable(Delivery::Maybe)));
    script.answers.lock().unwrap().extend(gone);
    let begun = tokio::time::Instant::now();
    let mut call = call("body");
    call.head.deadline = Some((begun + Duration::from_millis(1500)).into_std());
    let error = outbound.invoke("you", call).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to invoke target you after 1 retries. Error: rpc error: code = Unavailable desc = gone"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test]
async fn a_policy_that_admits_nothing_sends_nothing() {
    let policies = Twice {
        is_shut: true,
        ..Twice::default()
    };
    let (outbound, script) = judged(moody(0), &policies);
    let error = outbound.invoke("you", call("")).await.unwrap_err();
    assert_eq!(error.to_string(), "circuit breaker is open");
    assert!(places(&script).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_built_in_retry_may_spare_what_was_seen() {
    let built_in = crate::attempts::BuiltInRetry {
        repeats_seen: false,
        ..Default::default()
    };
    let app = AppRef::new("you", "ns");
    let facts = CallFacts::new(Road::Http, b"m");
    for (seen, wanted) in [
        (Delivery::No, Verdict::Again(Duration::from_secs(1))),
        (Delivery::Maybe, Verdict::Done),
    ] {
        let error = unavailable(seen);
        let verdict = built_in
            .begin(&app, facts)
            .unwrap()
            .judge(Outcome::Failed(&error));
        assert_eq!(verdict, wanted);
    }
}
