//! What Dapr's policies do not have: budgets, time in all, wishes of the other side, hedging, policies of methods.

use super::*;

fn begin(policies: &crate::Policies, target: &str, facts: CallFacts<'_>) -> PolicyRun {
    let policy = policy_of(policies, target).unwrap();
    policies.begin(&policy, facts).unwrap()
}

/// Fails one attempt after the other; gives how many there were.
fn attempts(mut run: PolicyRun) -> usize {
    let mut made = 0;
    loop {
        made += 1;
        run.admit().unwrap();
        let outcome = Outcome::Answered(Some(500));
        match run.judge(outcome) {
            Verdict::Again(pause) => run.repeats(outcome, pause),
            Verdict::Done => return made,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_of_the_target_and_not_of_a_call() {
    let spec = "  policies: {retries: {r: {duration: 1ms, maxRetries: 2, budget: {percent: 50, minimum: 3, window: 10s}}}}
  targets: {apps: {a: {retry: r}, b: {retry: r}}}";
    let (policies, _) = observed(&[spec]);
    let policy = policy_of(&policies, "a").unwrap();
    let fail = |count: usize| -> usize {
        let run = || policies.begin(&policy, facts(HTTP, false)).unwrap();
        (0..count).map(|_| attempts(run()) - 1).sum()
    };
    // Three in any case, and one for two calls.
    assert_eq!(fail(10), 8);
    assert_eq!(
        attempts(begin(&policies, "b", facts(HTTP, false))),
        3,
        "another target"
    );
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(fail(2), 4);
}

#[tokio::test(start_paused = true)]
async fn the_retry_that_is_built_in_has_a_budget_of_its_own() {
    let spec = "  policies: {retries: {DaprBuiltInServiceRetries: {duration: 1ms, budget: {percent: 0, minimum: 4}}}}";
    let (policies, _) = observed(&[spec]);
    let policy = policy_of(&policies, "a").unwrap();
    let mut made = 0;
    for _ in 0..5 {
        let mut run = policies.begin(&policy, facts(HTTP, false)).unwrap();
        let error = Rpc(14).error().unwrap();
        loop {
            made += 1;
            run.admit().unwrap();
            let outcome = Outcome::Failed(&error);
            match run.judge(outcome) {
                Verdict::Again(pause) => run.repeats(outcome, pause),
                Verdict::Done => break,
            }
        }
    }
    assert_eq!(made, 5 + 4);
}

#[tokio::test(start_paused = true)]
async fn all_attempts_together_have_a_time_limit() {
    let spec = "  policies: {timeouts: {t: 2s}, retries: {r: {duration: 1s, totalTimeout: 5s}}}
  targets: {apps: {a: {timeout: t, retry: r}}}";
    let (policies, _) = observed(&[spec]);
    let mut run = begin(&policies, "a", facts(HTTP, false));
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    assert_eq!(run.admit().unwrap(), Some(begun + 2 * second));
    tokio::time::advance(2 * second).await;
    assert_eq!(run.judge(Outcome::Answered(Some(500))), Verdict::Again(second));
    tokio::time::advance(2 * second).await;
    assert_eq!(
        run.admit().unwrap(),
        Some(begun + 5 * second),
        "no longer than all of it"
    );
    assert_eq!(
        run.judge(Outcome::Answered(Some(500))),
        Verdict::Done,
        "the pause would be its end"
    );

    let unlimited =
        "  policies: {retries: {r: {duration: 1s, totalTimeout: 5s}}}\n  targets: {apps: {a: {retry: r}}}";
    let (policies, _) = observed(&[unlimited]);
    assert_eq!(
        begin(&policies, "a", facts(LONG, false)).admit().unwrap(),
        None,
        "a stream lasts"
    );
    let mut run = begin(&policies, "a", facts(PROXIED, false));
    assert_eq!(run.admit().unwrap(), Some(Instant::now() + 5 * second));
}

#[tokio::test(start_paused = true)]
async fn what_the_other_side_asks_for_is_followed_as_far_as_the_policy_lets_it() {
    let second = Duration::from_secs(1);
    let after = |seconds| Some(Pushback::After(seconds * second));
    for (field, pushback, wanted) in [
        ("maxRetryAfter: 5s", after(3), Verdict::Again(3 * second)),
        ("maxRetryAfter: 5s", after(0), Verdict::Again(Duration::ZERO)),
        ("maxRetryAfter: 5s", after(6), Verdict::Done),
        ("maxRetryAfter: 5s", Some(Pushback::Never), Verdict::Done),
        ("maxRetryAfter: 5s", None, Verdict::Again(second)),
        ("maxRetryAfter: 5s, totalTimeout: 2s", after(3), Verdict::Done),
        ("jitter: 0", after(3), Verdict::Again(second)),
    ] {
        let spec = format!(
            "  policies: {{retries: {{r: {{duration: 1s, {field}}}}}}}\n  targets: {{apps: {{a: {{retry: r}}}}}}"
        );
        let (policies, _) = observed(&[&spec]);
        let mut run = begin(&policies, "a", facts(PROXIED, false));
        run.admit().unwrap();
        assert_eq!(run.wants_pushback(), field.contains("maxRetryAfter"));
        if let Some(pushback) = pushback.filter(|_| run.wants_pushback()) {
            run.pushed_back(pushback);
        }
        assert_eq!(
            run.judge(Outcome::Answered(Some(14))),
            wanted,
            "{field} {pushback:?}"
        );
    }
}

fn with_verb(verb: Verb, road: Road, method: &'static [u8]) -> CallFacts<'static> {
    let mut facts = CallFacts::new(road, method);
    facts.verb = Some(verb);
    facts
}

#[tokio::test(start_paused = true)]
async fn which_calls_are_hedged_and_how_many() {
    let spec =
        "  policies: {hedges: {h: {delay: 50ms, verbs: 'PUT, DELETE', budget: {percent: 50, minimum: 1}}}}
  targets: {apps: {a: {hedge: h}, me: {hedge: h}, 'http://h': {hedge: h}}}";
    let (policies, _) = observed(&[spec]);
    let delay = Some(Duration::from_millis(50));
    for (verb, road, wanted) in [
        (Verb::GET, HTTP, delay),
        (Verb::HEAD, HTTP, delay),
        (Verb::OPTIONS, GRPC, delay),
        (Verb::PUT, HTTP, delay),
        (Verb::DELETE, HTTP, delay),
        (Verb::POST, HTTP, None),
        (Verb::PATCH, HTTP, None),
        (Verb::TRACE, HTTP, None),
        (Verb::GET, PROXIED, None),
    ] {
        let run = begin(&policies, "a", with_verb(verb, road, b"m"));
        assert_eq!(run.hedges_after(), wanted, "{verb} {road:?}");
    }
    let run = begin(&policies, "a", facts(GRPC, false));
    assert_eq!(
        run.hedges_after(),
        None,
        "nobody knows what a call without a verb does"
    );
    // There is one instance of the own app, and of an endpoint outside nobody knows.
    assert!(policy_of(&policies, "me").is_none() && policy_of(&policies, "http://h").is_none());

    let policy = policy_of(&policies, "a").unwrap();
    let begin = || policies.begin(&policy, with_verb(Verb::GET, HTTP, b"m")).unwrap();
    let run = begin();
    (0..3).for_each(|_| drop(begin()));
    let may = (0..10).filter(|_| run.may_hedge()).count();
    assert_eq!(may, 3, "one in any case, and one for two calls");
}

#[tokio::test(start_paused = true)]
async fn a_quantile_is_learnt_from_answers() {
    let spec = "  policies: {hedges: {h: {quantile: 0.95}, d: {quantile: 0.95, delay: 1s}}}
  targets: {apps: {a: {hedge: h}, b: {hedge: d}}}";
    let (policies, _) = observed(&[spec]);
    for (target, first) in [("a", None), ("b", Some(Duration::from_secs(1)))] {
        let policy = policy_of(&policies, target).unwrap();
        let begin = || policies.begin(&policy, with_verb(Verb::GET, HTTP, b"m")).unwrap();
        assert_eq!(begin().hedges_after(), first);
        for _ in 0..200 {
            let mut run = begin();
            run.admit().unwrap();
            tokio::time::advance(Duration::from_millis(20)).await;
            run.judge(Outcome::Answered(Some(200)));
        }
        let learnt = begin().hedges_after().unwrap().as_millis();
        assert!((20..26).contains(&learnt), "{learnt}");
    }
}

#[test]
fn methods_have_policies_of_their_own() {
    let spec = "  policies: {timeouts: {t: 1s}, retries: {r: {duration: 1ms, maxRetries: 2}, once: {maxRetries: 0}},
    circuitBreakers: {c: {trip: consecutiveFailures >= 1}}}
  targets:
    apps:
      a:
        retry: r
        methods: {POST: {}, 'orders/*': {retry: once, timeout: t}, GET orders/1: {circuitBreaker: c}, pkg.Svc/Do: {}}
      me: {methods: {GET: {retry: r}}}";
    let (policies, _) = observed(&[spec]);
    for (target, verb, road, method, wanted) in [
        ("a", Verb::GET, HTTP, &b"x"[..], 3),
        ("a", Verb::POST, HTTP, b"x", 1),
        ("a", Verb::GET, HTTP, b"orders/2", 1),
        ("a", Verb::GET, PROXIED, b"/pkg.Svc/Do", 1),
        ("a", Verb::GET, PROXIED, b"/pkg.Svc/Other", 3),
        ("me", Verb::GET, HTTP, b"x", 3),
        ("me", Verb::PUT, HTTP, b"x", 1),
    ] {
        let run = begin(&policies, target, with_verb(verb, road, method));
        let made = if road == PROXIED {
            attempts_of(run, 13)
        } else {
            attempts(run)
        };
        assert_eq!(
            made,
            wanted,
            "{target} {verb} {}",
            String::from_utf8_lossy(method)
        );
    }
    let timed = begin(&policies, "a", with_verb(Verb::GET, HTTP, b"orders/2"))
        .admit()
        .unwrap();
    assert!(timed.is_some());
    // A breaker of a method: it opens after its first failure, and no other has it.
    assert_eq!(
        attempts(begin(&policies, "a", with_verb(Verb::GET, HTTP, b"orders/1"))),
        1
    );
    let mut run = begin(&policies, "a", with_verb(Verb::GET, HTTP, b"orders/1"));
    assert_eq!(run.admit().unwrap_err().to_string(), "circuit breaker is open");
    assert!(
        begin(&policies, "a", with_verb(Verb::DELETE, HTTP, b"orders/1"))
            .admit()
            .is_ok()
    );
}

fn attempts_of(mut run: PolicyRun, status: i32) -> usize {
    let mut made = 0;
    loop {
        made += 1;
        run.admit().unwrap();
        if run.judge(Outcome::Answered(Some(status))) == Verdict::Done {
            return made;
        }
    }
}

#[test]
fn mistakes_name_their_field() {
    for (spec, wanted) in [
        (
            "retries: {r: {jitter: 2}}",
            "spec.policies.retries.r.jitter: \"2\" is no number from 0 to 1",
        ),
        (
            "retries: {r: {jitter: NaN}}",
            "spec.policies.retries.r.jitter: \"NaN\" is no number from 0 to 1",
        ),
        (
            "retries: {r: {totalTimeout: 0}}",
            "spec.policies.retries.r.totalTimeout: 0 is no time to wait for",
        ),
        (
            "retries: {r: {maxRetryAfter: 1x}}",
            "spec.policies.retries.r.maxRetryAfter: time: unknown unit \"x\" in duration \"1x\"",
        ),
        (
            "retries: {r: {budget: {percent: 101}}}",
            "spec.policies.retries.r.budget.percent: 101 is not from 0 to 100",
        ),
        (
            "retries: {r: {budget: {minimum: -1}}}",
            "spec.policies.retries.r.budget.minimum: -1 is not from 0 to 100000",
        ),
        (
            "retries: {r: {budget: {window: 10ms}}}",
            "spec.policies.retries.r.budget.window: 10ms is not from 1s to 10m",
        ),
        (
            "retries: {DaprBuiltInServiceRetries: {totalTimeout: 1s}}",
            "spec.policies.retries.DaprBuiltInServiceRetries.totalTimeout: the retry that is built in has none",
        ),
        (
            "hedges: {h: {}}",
            "spec.policies.hedges.h: it has neither a delay nor a quantile",
        ),
        (
            "hedges: {h: {delay: -1}}",
            "spec.policies.hedges.h.delay: -1 is no time to wait for",
        ),
        (
            "hedges: {h: {quantile: 1}}",
            "spec.policies.hedges.h.quantile: 1 is not from 0.5 to 0.999",
        ),
        (
            "hedges: {h: {delay: 1, verbs: POST}}",
            "spec.policies.hedges.h.verbs: calls with POST may not be made twice",
        ),
    ] {
        assert_eq!(mistake(&format!("  policies: {{{spec}}}")), wanted);
    }
    for (methods, wanted) in [
        (
            "{'a b c': {}}",
            "spec.targets.apps.a.methods.\"a b c\": it has more than a verb and a path",
        ),
        (
            "{a: {}, /a: {}}",
            "spec.targets.apps.a.methods.\"a\": it is for the same calls as \"/a\"",
        ),
    ] {
        assert_eq!(
            mistake(&format!("  targets: {{apps: {{a: {{methods: {methods}}}}}}}")),
            wanted
        );
    }
    let many: Vec<_> = (0..65).map(|index| format!("p{index}: {{}}")).collect();
    let many = format!("  targets: {{apps: {{a: {{methods: {{{}}}}}}}}}", many.join(", "));
    assert_eq!(
        mistake(&many),
        "spec.targets.apps.a.methods: there are more than 64"
    );
}

fn mistake(spec: &str) -> String {
    let resource = crate::testing::resource("r", spec);
    crate::compile::mistake_of(&resource).unwrap().to_string()
}

/// A retry may be given up after it was granted: its body is gone, or its caller would not wait so long.
#[test]
fn a_retry_that_is_given_up_costs_nothing_of_the_budget() {
    let spec = "  policies: {retries: {r: {duration: 1ms, maxRetries: 5, budget: {percent: 0, minimum: 1}}}}
  targets: {apps: {a: {retry: r}}}";
    let (policies, _) = observed(&[spec]);
    let policy = policy_of(&policies, "a").unwrap();
    let run = || policies.begin(&policy, facts(HTTP, false)).unwrap();
    for _ in 0..3 {
        let mut given_up = run();
        given_up.admit().unwrap();
        let verdict = given_up.judge(Outcome::Answered(Some(500)));
        assert_eq!(verdict, Verdict::Again(Duration::from_millis(1)));
    }
    assert_eq!(attempts(run()), 2, "there is one, and then none");
}
