//! Calls under policies: attempts, pauses, last words.

mod beyond;

use std::time::Duration;

use invoke_core::RpcStatus;
use invoke_core::attempts::Attempts;

use super::*;
use crate::testing::{observed, policy_of};

/// What came of an attempt.
#[derive(Clone, Copy)]
enum Came {
    Status(i32),
    /// The first message of a proxied call.
    Message,
    /// A status of the other sidecar, which saw the call.
    Rpc(i32),
    /// Nobody saw the call.
    Unseen,
    Late,
    Caller,
    Unresolved,
    /// The way to the own app failed.
    App,
}

impl Came {
    fn error(self) -> Option<InvokeError> {
        let rpc = |code| RpcStatus::new(code, "why");
        Some(match self {
            Self::Status(_) | Self::Message => return None,
            Self::Rpc(code) => InvokeError::new(Fault::Peer, Delivery::Yes, rpc(code)),
            Self::Unseen => InvokeError::new(Fault::Peer, Delivery::No, rpc(code::UNAVAILABLE)),
            Self::Late => InvokeError::new(Fault::Peer, Delivery::Maybe, Cause::DeadlineExceeded),
            Self::Caller => InvokeError::new(Fault::Caller, Delivery::No, Cause::InvalidVerb),
            Self::Unresolved => InvokeError::unsent(
                Fault::Peer,
                invoke_core::error::ResolveError::new("couldn't find service: a"),
            ),
            Self::App => InvokeError::new(Fault::App, Delivery::Maybe, Cause::NoEventStream),
        })
    }
}

use Came::{App, Caller, Late, Message, Rpc, Status, Unresolved, Unseen};

const HTTP: Road = Road::Http;
const GRPC: Road = Road::Grpc;
const PROXIED: Road = Road::Proxied { is_long: false };
const LONG: Road = Road::Proxied { is_long: true };

fn facts(road: Road, is_streaming: bool) -> CallFacts<'static> {
    let mut facts = CallFacts::new(road, b"m");
    facts.is_streaming = is_streaming;
    facts
}

/// Makes a call all of whose attempts come to the same. Gives how many there were, the pauses in milliseconds, and the
/// last error.
fn play(spec: &str, target: &str, facts: CallFacts<'_>, came: Came) -> (u32, Vec<u64>, Option<String>) {
    let (policies, _) = observed(&[spec]);
    let policy = policy_of(&policies, target).unwrap();
    let Some(mut run) = policies.begin(&policy, facts) else {
        return (1, Vec::new(), None);
    };
    let mut pauses = Vec::new();
    for attempt in 1..=100 {
        if let Err(error) = run.admit() {
            return (attempt - 1, pauses, Some(error.to_string()));
        }
        let error = came.error();
        let outcome = match (&error, came) {
            (Some(error), _) => Outcome::Failed(error),
            (None, Status(status)) => Outcome::Answered(Some(status)),
            (None, _) => Outcome::Answered(None),
        };
        match run.judge(outcome) {
            Verdict::Again(pause) => {
                run.repeats(outcome, pause);
                pauses.push(pause.as_millis() as u64);
            }
            Verdict::Done => {
                let error = error.map(|error| run.last_word(error).to_string());
                return (attempt, pauses, error);
            }
        }
    }
    panic!("it does not end");
}

const TWICE: &str = "  policies: {retries: {r: {duration: 10ms, maxRetries: 2}}}
  targets: {apps: {a: {retry: r}, me: {retry: r}, 'http://h': {retry: r}}}";
const LISTED: &str = "  policies: {retries: {r: {duration: 10ms, maxRetries: 2, matching: {httpStatusCodes: '500,502-504', gRPCStatusCodes: '14'}}}}
  targets: {apps: {a: {retry: r}, me: {retry: r}}}";

#[test]
fn what_is_tried_again() {
    for (spec, road, came, wanted) in [
        (TWICE, HTTP, Status(200), 1),
        (TWICE, HTTP, Status(204), 1),
        (TWICE, HTTP, Status(302), 1),
        (TWICE, HTTP, Status(404), 3),
        (TWICE, HTTP, Status(500), 3),
        (TWICE, HTTP, Status(509), 3),
        (TWICE, HTTP, Status(101), 3),
        (TWICE, HTTP, Status(600), 1),
        (TWICE, HTTP, Status(13), 1),
        (TWICE, HTTP, Status(0), 1),
        (TWICE, HTTP, Rpc(13), 3),
        (TWICE, HTTP, Rpc(7), 3),
        (TWICE, HTTP, Rpc(14), 3),
        (TWICE, HTTP, Unseen, 3),
        (TWICE, HTTP, Late, 3),
        (TWICE, HTTP, Unresolved, 3),
        (TWICE, HTTP, App, 3),
        (TWICE, HTTP, Caller, 1),
        (TWICE, GRPC, Status(200), 1),
        (TWICE, GRPC, Status(302), 3),
        (TWICE, GRPC, Status(404), 3),
        (TWICE, GRPC, Status(0), 1),
        (TWICE, GRPC, Status(13), 3),
        (TWICE, GRPC, Status(20), 3),
        (TWICE, GRPC, Rpc(13), 3),
        (TWICE, GRPC, Unresolved, 3),
        (TWICE, PROXIED, Status(0), 1),
        (TWICE, PROXIED, Status(5), 3),
        (TWICE, PROXIED, Status(13), 3),
        (TWICE, PROXIED, Status(17), 1),
        (TWICE, PROXIED, Status(20), 1),
        (TWICE, PROXIED, Message, 1),
        (TWICE, PROXIED, Rpc(7), 3),
        (TWICE, PROXIED, Late, 3),
        (TWICE, PROXIED, Unresolved, 1),
        (TWICE, LONG, Status(13), 1),
        (TWICE, LONG, Message, 1),
        (TWICE, LONG, Rpc(14), 1),
        (LISTED, HTTP, Status(500), 3),
        (LISTED, HTTP, Status(503), 3),
        (LISTED, HTTP, Status(501), 1),
        (LISTED, HTTP, Status(404), 1),
        (LISTED, HTTP, Status(14), 1),
        (LISTED, HTTP, Rpc(7), 3),
        (LISTED, GRPC, Status(404), 3),
        (LISTED, GRPC, Status(13), 3),
        (LISTED, GRPC, Status(14), 3),
        (LISTED, PROXIED, Status(14), 3),
        (LISTED, PROXIED, Status(13), 1),
        (LISTED, PROXIED, Rpc(7), 1),
        (LISTED, PROXIED, Rpc(14), 3),
    ] {
        let (attempts, pauses, _) = play(spec, "a", facts(road, false), came);
        assert_eq!(attempts, wanted, "{road:?} {:?} {:?}", came.error(), pauses);
        assert!(pauses.iter().all(|pause| *pause == 10), "{pauses:?}");
    }
}

#[test]
fn a_proxied_call_that_nobody_saw_begins_anew_at_once_within_each_attempt() {
    let (attempts, pauses, _) = play(TWICE, "a", facts(PROXIED, false), Unseen);
    assert_eq!((attempts, pauses), (6, vec![0, 10, 0, 10, 0]));
    let (attempts, pauses, _) = play("  targets: {apps: {a: {}}}", "a", facts(PROXIED, false), Unseen);
    assert_eq!((attempts, pauses), (2, vec![0]));
}

#[test]
fn a_stream_is_never_tried_again() {
    for came in [Status(500), Rpc(13), Unseen, Late, App] {
        assert_eq!(play(TWICE, "a", facts(HTTP, true), came).0, 1);
        assert_eq!(play("", "a", facts(HTTP, true), came).0, 1);
    }
}

#[test]
fn the_own_app_has_a_policy_when_it_is_invoked_only() {
    assert_eq!(play(TWICE, "me", facts(HTTP, false), App).0, 3);
    assert_eq!(play(TWICE, "me", facts(GRPC, false), Status(13)).0, 3);
    assert_eq!(play(TWICE, "me", facts(PROXIED, false), Status(13)).0, 1);
}

#[test]
fn the_built_in_retry_nests_in_the_default_one() {
    let exhausted =
        "failed to invoke target a after 3 retries. Error: rpc error: code = Unavailable desc = why";
    let (attempts, pauses, error) = play("", "a", facts(HTTP, false), Rpc(14));
    assert_eq!((attempts, pauses), (4, vec![1000; 3]));
    assert_eq!(error.unwrap(), exhausted);

    let default = "  policies: {retries: {DefaultRetryPolicy: {duration: 10ms, maxRetries: 2}}}";
    let (attempts, pauses, error) = play(default, "a", facts(HTTP, false), Rpc(14));
    assert_eq!(attempts, 12);
    assert_eq!(
        pauses,
        [1000, 1000, 1000, 10, 1000, 1000, 1000, 10, 1000, 1000, 1000]
    );
    assert_eq!(error.unwrap(), exhausted);

    let (attempts, _, error) = play("  targets: {apps: {a: {}}}", "a", facts(HTTP, false), Rpc(14));
    assert_eq!(attempts, 1);
    assert_eq!(error.unwrap(), "rpc error: code = Unavailable desc = why");
    assert_eq!(play("", "a", facts(HTTP, false), Rpc(13)).0, 1);

    let quick = "  policies: {retries: {DaprBuiltInServiceRetries: {duration: 50ms, maxRetries: 5}}}";
    let (attempts, pauses, error) = play(quick, "a", facts(HTTP, false), Rpc(14));
    assert_eq!((attempts, pauses), (6, vec![50; 5]));
    assert!(
        error
            .unwrap()
            .starts_with("failed to invoke target a after 5 retries. ")
    );
}

#[test]
fn a_breaker_that_opens_ends_the_retries() {
    let spec = "  policies: {retries: {r: {duration: 10ms, maxRetries: 3}}, circuitBreakers: {c: {trip: consecutiveFailures >= 2}}}
  targets: {apps: {a: {retry: r, circuitBreaker: c}}}";
    for (road, came) in [
        (HTTP, Status(500)),
        (GRPC, Status(500)),
        (GRPC, Status(13)),
        (PROXIED, Status(13)),
        (PROXIED, Rpc(13)),
    ] {
        let (attempts, _, error) = play(spec, "a", facts(road, false), came);
        assert_eq!(
            (attempts, error.as_deref()),
            (2, Some("circuit breaker is open")),
            "{road:?}"
        );
    }
}

/// Makes calls of one attempt under a breaker that opens at the second failure; whether the third is refused.
fn opens(road: Road, is_streaming: bool, came: Came) -> bool {
    let spec = "  policies: {circuitBreakers: {c: {trip: consecutiveFailures >= 2}}}
  targets: {apps: {a: {circuitBreaker: c}}}";
    let (policies, _) = observed(&[spec]);
    let policy = policy_of(&policies, "a").unwrap();
    let begin = || policies.begin(&policy, facts(road, is_streaming)).unwrap();
    for _ in 0..2 {
        let mut run = begin();
        run.admit().unwrap();
        let error = came.error();
        let outcome = match (&error, came) {
            (Some(error), _) => Outcome::Failed(error),
            (None, Status(status)) => Outcome::Answered(Some(status)),
            (None, _) => Outcome::Answered(None),
        };
        run.judge(outcome);
        if error.is_none() && run.wants_end() {
            run.ended(End::Whole, None);
        }
    }
    begin().admit().is_err()
}

#[test]
fn what_a_breaker_counts() {
    for (road, is_streaming, came, wanted) in [
        (HTTP, false, Status(200), false),
        (HTTP, false, Status(302), false),
        (HTTP, false, Status(404), true),
        (HTTP, false, Status(600), true),
        (HTTP, false, Status(13), false),
        (HTTP, true, Status(13), true),
        (HTTP, true, Status(500), true),
        (HTTP, false, Late, true),
        (HTTP, false, Caller, true),
        (GRPC, false, Status(302), true),
        (GRPC, false, Status(13), true),
        (PROXIED, false, Status(13), true),
        (PROXIED, false, Message, false),
        (PROXIED, false, Unresolved, false),
        (LONG, false, Message, false),
        (LONG, false, Unseen, true),
    ] {
        assert_eq!(
            opens(road, is_streaming, came),
            wanted,
            "{road:?} {:?}",
            came.error()
        );
    }
}

#[test]
fn a_breaker_hears_how_the_answer_ended() {
    let spec =
        "  policies: {circuitBreakers: {c: {trip: 'true'}}}\n  targets: {apps: {a: {circuitBreaker: c}}}";
    for (ended, wanted) in [
        (Some((End::Whole, None)), false),
        (Some((End::Whole, Some(0))), false),
        (Some((End::Whole, Some(13))), true),
        (Some((End::Dropped, None)), true),
        (
            Some((End::Failed(&invoke_core::BodyError::DeadlineExceeded), None)),
            true,
        ),
        (None, true),
    ] {
        let (policies, _) = observed(&[spec]);
        let policy = policy_of(&policies, "a").unwrap();
        let begin = || policies.begin(&policy, facts(PROXIED, false)).unwrap();
        let mut run = begin();
        run.admit().unwrap();
        run.judge(Outcome::Answered(None));
        match ended {
            Some((end, status)) => run.ended(end, status),
            None => drop(run),
        }
        assert_eq!(begin().admit().is_err(), wanted, "{ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_time_and_pauses_belong_to_it() {
    let spec = "  policies: {timeouts: {DefaultTimeoutPolicy: 2500ms}, retries: {DefaultRetryPolicy: {duration: 10ms, maxRetries: 1}}}";
    let (policies, noted) = observed(&[spec]);
    let policy = policy_of(&policies, "a").unwrap();
    let mut run = policies.begin(&policy, facts(HTTP, false)).unwrap();
    let begun = Instant::now();
    let unseen = Unseen.error().unwrap();
    let late = Late.error().unwrap();
    for outer in 0..2 {
        let first = run.admit().unwrap().unwrap();
        for wanted in [1000, 1000, 500] {
            let Verdict::Again(pause) = run.judge(Outcome::Failed(&unseen)) else {
                panic!("it is unavailable")
            };
            assert_eq!(pause, Duration::from_millis(wanted));
            tokio::time::advance(pause).await;
            assert_eq!(run.admit().unwrap(), Some(first), "the time of the outer attempt");
        }
        assert_eq!(Instant::now(), first);
        let verdict = run.judge(Outcome::Failed(&late));
        let wanted = if outer == 0 {
            Verdict::Again(Duration::from_millis(10))
        } else {
            Verdict::Done
        };
        assert_eq!(verdict, wanted);
        run.repeats(Outcome::Failed(&late), Duration::from_millis(10));
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(run.last_word(late).to_string(), "context deadline exceeded");
    assert_eq!(begun.elapsed(), Duration::from_millis(5020));
    drop(run);
    assert_eq!(
        noted.take(),
        [
            "loaded r0",
            "target a of r0",
            "executed Timeout",
            "executed Retry",
            "activated Timeout",
            "activated Retry",
        ],
        "each once for a call"
    );
}

#[test]
fn what_an_observer_is_told_of_a_breaker() {
    let spec = "  policies: {circuitBreakers: {c: {trip: 'true'}}, timeouts: {negative: -1}}
  targets: {apps: {a: {circuitBreaker: c, timeout: negative}}}";
    let (policies, noted) = observed(&[spec]);
    let policy = policy_of(&policies, "a").unwrap();
    noted.take();
    for wanted in [
        vec![
            "executed Timeout",
            "executed CircuitBreaker(Closed)",
            "state closed",
            "activated CircuitBreaker(Open)",
            "state open",
        ],
        vec!["executed Timeout", "executed CircuitBreaker(Open)", "state open"],
    ] {
        let mut run = policies.begin(&policy, facts(HTTP, false)).unwrap();
        if run.admit().is_ok() {
            run.judge(Outcome::Answered(Some(500)));
        }
        drop(run);
        assert_eq!(noted.take(), wanted);
    }
}

#[test]
fn calls_of_an_endpoint_share_a_breaker_and_other_calls_have_one_for_each_method() {
    let spec = "  policies: {circuitBreakers: {DefaultCircuitBreakerPolicy: {}}}";
    let (policies, _) = observed(&[spec]);
    for (target, road, wanted) in [
        ("a", HTTP, "a:m"),
        ("a.ns", GRPC, "a.ns:m"),
        ("me", HTTP, "me:m"),
        ("ext", HTTP, "ext:http://e:1"),
        ("ext", GRPC, "ext:m"),
        ("http://h:1", HTTP, "http://h:1/m"),
    ] {
        let policy = policy_of(&policies, target).unwrap();
        assert_eq!(policy.key(road, b"m"), wanted);
        let of = |method: &'static [u8]| policy.breaker(&CallFacts::new(road, method)).unwrap();
        let is_shared = Arc::ptr_eq(&of(b"x"), &of(b"y"));
        assert_eq!(is_shared, target == "ext" && road == HTTP, "{target}");
    }
}

#[test]
fn what_is_kept_of_a_body() {
    let once = "  policies: {retries: {r: {maxRetries: 0}}}\n  targets: {apps: {a: {retry: r}}}";
    for (spec, facts, wanted) in [
        (TWICE, facts(HTTP, false), 1 << 20),
        (TWICE, facts(HTTP, true), 0),
        (TWICE, facts(PROXIED, true), 1 << 20),
        (TWICE, facts(LONG, true), BUILT_IN_KEEPS),
        (once, facts(HTTP, false), 0),
        ("", facts(HTTP, false), BUILT_IN_KEEPS),
        ("", facts(HTTP, true), 0),
        ("", facts(PROXIED, true), BUILT_IN_KEEPS),
    ] {
        let (policies, _) = observed(&[spec]);
        let policy = policy_of(&policies, "a").unwrap();
        assert_eq!(
            policies.begin(&policy, facts).unwrap().keeps(),
            wanted,
            "{spec} {facts:?}"
        );
    }
}
