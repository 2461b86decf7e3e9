use std::time::Duration;

use http::Request;
use serde_json::Value;

use super::*;

/// What Sentinel did: rules, and calls that began and ended while its clock was moved by hand. Each line is a sequence; an
/// event is how many milliseconds later it was, and `enter`, the resource, what became of it and how many nanoseconds it
/// waited; or `exit`, which of those that go on, and whether it had failed.
const RECORDED: &str = include_str!("recorded.jsonl");

const KINDS: [&str; 4] = [
    "flowRules",
    "circuitBreakerRules",
    "isolationRules",
    "systemRules",
];

fn properties(items: &[(&str, &str)]) -> Properties {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Properties::new(items.iter().map(owned))
}

fn call(method: &str, path: &str) -> Call {
    let request = Request::builder().method(method).uri(path);
    Call {
        request: request.body(Body::empty()).unwrap(),
        peer: None,
    }
}

#[tokio::test]
async fn what_sentinel_did() {
    let mut events = 0;
    for line in RECORDED.lines() {
        let sequence: Value = serde_json::from_str(line).unwrap();
        events += play(&sequence).await;
    }
    assert!(events >= 4000, "{events}");
}

async fn play(sequence: &Value) -> usize {
    let rules = KINDS.iter().filter(|kind| sequence.get(**kind).is_some());
    let rules = rules.map(|kind| ((*kind).to_owned(), sequence[*kind].to_string()));
    let start = Moment(sequence["start"].as_u64().unwrap() * 1_000_000);
    let sentinel = rules::read(&Properties::new(rules), Clock::by_hand(start)).unwrap();
    let mut running = Vec::new();
    let events = sequence["events"].as_array().unwrap();
    for (at, event) in events.iter().enumerate() {
        let told = || format!("{} {}: event {at}, {event}", sequence["name"], sequence["start"]);
        let step = Duration::from_millis(event[0].as_u64().unwrap());
        sentinel.clock.advance(step);
        if event[1] == "exit" {
            let mut passage: Option<Passage> = running.remove(event[2].as_u64().unwrap() as usize);
            if let Some(passage) = &mut passage {
                passage.has_failed = event[3] == true;
            }
            continue;
        }
        let (method, path) = event[2].as_str().unwrap().split_once(':').unwrap();
        let before = sentinel.clock.now();
        let verdict = sentinel.handle(&mut call(method, path)).await;
        let waited = sentinel.clock.now().0 - before.0;
        assert_eq!(Some(waited), event[4].as_u64(), "{}", told());
        assert_eq!(verdict.is_ok(), event[3] == "passed", "{}", told());
        match verdict {
            Ok(After::Complete(passage)) => running.push(Some(passage)),
            Ok(_) => running.push(None),
            Err(answer) => assert_eq!(answer.status(), 429),
        }
    }
    events.len()
}

#[test]
fn metadata() {
    for (items, wanted) in [
        (
            &[("flowRules", "{}")][..],
            "fail to load sentinel flow rules '{}': Fail to convert source bytes to []*flow.Rule, err: a list of rules \
             is expected",
        ),
        (
            &[("CIRCUITBREAKERRULES", "[7]")],
            "fail to load sentinel circuit breaker rules '[7]': Fail to convert source bytes to \
             []*circuitbreaker.Rule, err: rule 1 is no object",
        ),
        (
            &[("hotSpotParamRules", r#"[{"resource": 7}]"#)],
            "hotspot param rules '[{\"resource\": 7}]': Fail to convert source bytes to []*hotspot.Rule, err: rule 1: \
             resource: a text is expected, not 7",
        ),
        (
            &[("isolationRules", r#"[{"threshold": -1}]"#)],
            "[]*isolation.Rule, err: rule 1: threshold: a whole number from 0 to 4294967295 is expected, not -1",
        ),
        (
            &[("systemRules", r#"[{"metricType": "0"}]"#)],
            "[]*system.Rule, err: rule 1: metricType: a whole number from 0 to 4294967295 is expected, not \"0\"",
        ),
        (
            &[("appName", "a"), ("APPNAME", "b")],
            "error to parse sentinel metadata: failed to resolve aliases: key appname is duplicate in the metadata",
        ),
    ] {
        let said = Sentinel::new(&properties(items)).unwrap_err().to_string();
        assert!(said.ends_with(wanted), "{said}");
    }
}

#[tokio::test]
async fn a_rule_that_is_none_is_passed_over() {
    let rules = r#"[{"resource": "GET:/a"}, {"resource": "GET:/b", "threshold": -1}, null, {"resource": "everything"}]"#;
    let sentinel = Sentinel::new(&properties(&[
        ("flowRules", rules),
        ("isolationRules", ""),
        ("logDir", "/nowhere"),
    ]));
    let sentinel = sentinel.unwrap();
    for (method, path, passes) in [
        ("GET", "/a", false),
        ("GET", "/%61?x=1", false),
        ("POST", "/a", true),
        ("GET", "/b", true),
        ("GET", "/A", true),
    ] {
        let verdict = sentinel.handle(&mut call(method, path)).await;
        assert_eq!(verdict.is_ok(), passes, "{method} {path}");
    }
    let answer = sentinel.handle(&mut call("GET", "/a")).await.unwrap_err();
    assert_eq!(
        (answer.status(), answer.body().as_full()),
        (StatusCode::TOO_MANY_REQUESTS, Some(&b"Too Many Requests"[..]))
    );
}

#[tokio::test]
async fn a_call_is_over_when_its_answer_was_sent() {
    let rules = properties(&[("isolationRules", r#"[{"resource": "GET:/a", "threshold": 1}]"#)]);
    let sentinel = Sentinel::new(&rules).unwrap();
    let passes = async || sentinel.handle(&mut call("GET", "/a")).await.ok();
    let Some(After::Complete(passage)) = passes().await else {
        panic!("nothing goes on");
    };
    let (mut sender, body) = http_body_util::channel::Channel::<bytes::Bytes, invoke_core::BodyError>::new(1);
    let answer = passage.answered(Response::new(Body::stream(body)));
    sender.send_data("piece".into()).await.unwrap();
    assert!(passes().await.is_none());
    drop(answer);
    let again = passes().await;
    assert!(again.is_some());
    // Who gives up while the app works ends the call, too.
    drop(again);
    assert!(passes().await.is_some());
}

#[tokio::test]
async fn servers_that_fail_open_a_breaker() {
    let rule = r#"[{"resource": "GET:/a", "strategy": 2, "threshold": 1, "retryTimeoutMs": 60000, "statIntervalMs": 60000}]"#;
    let sentinel = Sentinel::new(&properties(&[("circuitBreakerRules", rule)])).unwrap();
    for (status, passes) in [(200, true), (404, true), (503, true), (200, false)] {
        match sentinel.handle(&mut call("GET", "/a")).await {
            Ok(After::Complete(passage)) => {
                let answer = Response::builder().status(status).body(Body::full("a")).unwrap();
                passage.answered(answer);
                assert!(passes, "{status}");
            }
            other => assert!(!passes && other.is_err(), "{status}"),
        }
    }
}

/// Those who invent paths make nothing grow, and those who leave take nothing along.
#[tokio::test]
async fn what_no_rule_names_is_not_remembered() {
    let rules = properties(&[("flowRules", r#"[{"resource": "GET:/a", "threshold": 1}]"#)]);
    let sentinel = Sentinel::new(&rules).unwrap();
    let count = |sentinel: &Sentinel| sentinel.resources.values().map(HashMap::len).sum::<usize>();
    for path in 0..1000 {
        let verdict = sentinel.handle(&mut call("GET", &format!("/{path}"))).await;
        assert!(matches!(verdict, Ok(After::Nothing)));
    }
    assert_eq!(count(&sentinel), 1);
}
