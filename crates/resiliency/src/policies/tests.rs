//! Which policy a target has.

use std::sync::Arc;
use std::time::Duration;

use invoke_core::attempts::Run;

use crate::retry::Pauses;
use crate::testing::{observed, policies, policy_of, resource};
use crate::{Policies, Settings, Unobserved};

const ALL: &str = "  policies:
    timeouts: {DefaultTimeoutPolicy: 1, DefaultAppTimeoutPolicy: 2, t: 3, none: 0, negative: -1}
    retries:
      DefaultRetryPolicy: {duration: 1, maxRetries: 1}
      r: {duration: 2, maxRetries: 2}
    circuitBreakers:
      DefaultAppCircuitBreakerPolicy: {}
      DefaultCircuitBreakerPolicy: {}
      c: {}
  targets:
    apps:
      full: {timeout: t, retry: r, circuitBreaker: c}
      empty: {}
      part: {retry: r}
      app.ns: {timeout: t}
      unknown: {timeout: nowhere, retry: nowhere, circuitBreaker: nowhere}
      'http://h:1': {timeout: t}
      ext: {retry: r}
      none: {timeout: none}
      negative: {timeout: negative}";

/// The parts of a policy: the limit of time and the pause in milliseconds, a breaker, the built-in retry.
fn parts(specs: &[&str], written: &str) -> Option<(u64, u64, bool, bool)> {
    let policy = policy_of(&policies(specs), written)?;
    let millis = |duration: Duration| duration.as_millis() as u64;
    let pause = policy.retry.as_ref().map_or(0, |retry| match retry.pauses {
        Pauses::Constant(pause) | Pauses::Exponential(pause) => millis(pause),
    });
    Some((
        policy.timeout.limit.map_or(0, millis),
        pause,
        policy.breakers.is_some(),
        policy.inner.is_some(),
    ))
}

#[test]
fn precedence() {
    for (written, wanted) in [
        ("full", Some((3, 2, true, false))),
        ("empty", Some((0, 0, false, false))),
        ("part", Some((0, 2, false, false))),
        ("unknown", Some((0, 0, false, false))),
        ("none", Some((0, 0, false, false))),
        ("other", Some((2, 1, true, true))),
        ("other.ns", Some((2, 1, true, true))),
        // The key is the whole target, but it is the app that switches the built-in retry off.
        ("app.ns", Some((3, 0, false, true))),
        ("full.ns", Some((2, 1, true, false))),
        ("http://h:1", Some((3, 0, false, false))),
        ("http://h:2", Some((2, 1, true, false))),
        ("ext", Some((0, 2, false, false))),
        ("me", Some((2, 1, true, false))),
    ] {
        assert_eq!(parts(&[ALL], written), wanted, "{written}");
    }
}

#[test]
fn without_resources_only_other_sidecars_have_a_policy() {
    for (written, wanted) in [
        ("app", Some((0, 0, false, true))),
        ("me", None),
        ("ext", None),
        ("http://h:1", None),
    ] {
        assert_eq!(parts(&[], written), wanted, "{written}");
    }
}

#[test]
fn a_default_for_each_part_by_itself() {
    for (spec, wanted) in [
        ("  policies: {timeouts: {DefaultTimeoutPolicy: 7}}", (7, 0, false)),
        (
            "  policies: {timeouts: {DefaultAppTimeoutPolicy: 7}}",
            (7, 0, false),
        ),
        (
            "  policies: {retries: {DefaultAppRetryPolicy: {duration: 8}}}",
            (0, 8, false),
        ),
        (
            "  policies: {circuitBreakers: {DefaultCircuitBreakerPolicy: {}}}",
            (0, 0, true),
        ),
        (
            "  policies: {circuitBreakers: {DefaultCircuitBreaker: {}}}",
            (0, 0, false),
        ),
    ] {
        let (timeout, retry, breaker) = wanted;
        assert_eq!(
            parts(&[spec], "app"),
            Some((timeout, retry, breaker, true)),
            "{spec}"
        );
    }
}

#[test]
fn later_resources_win_and_share_names() {
    let first =
        "  policies: {timeouts: {t: 1, u: 2}}\n  targets: {apps: {a: {timeout: t}, b: {timeout: later}}}";
    let second = "  policies: {timeouts: {t: 5, later: 6}}\n  targets: {apps: {c: {timeout: u}}}";
    for (written, wanted) in [("a", 5), ("b", 6), ("c", 2)] {
        assert_eq!(parts(&[first, second], written).unwrap().0, wanted, "{written}");
    }
}

#[test]
fn the_built_in_retry_may_be_changed_but_not_weakened() {
    for (policy, wanted) in [
        ("{duration: 50ms, maxRetries: 0}", 3),
        ("{duration: 50ms, maxRetries: 1}", 3),
        ("{duration: 50ms, maxRetries: -1}", 3),
        ("{duration: 50ms}", 3),
        ("{duration: 50ms, maxRetries: 10}", 10),
    ] {
        let spec = format!("  policies: {{retries: {{DaprBuiltInServiceRetries: {policy}}}}}");
        let policy = policy_of(&policies(&[&spec]), "app").unwrap();
        let built_in = policy.inner.as_ref().unwrap();
        assert_eq!(built_in.retries, Some(wanted), "{spec}");
        assert_eq!(built_in.pauses, Pauses::Constant(Duration::from_millis(50)));
    }
    let spec = "  policies: {retries: {DaprBuiltInActorNotFoundRetries: {maxRetries: 9}}}";
    assert!(policy_of(&policies(&[spec]), "app").is_some());
}

#[test]
fn a_resource_is_used_whole_or_not_at_all() {
    let good = "  policies: {timeouts: {t: 1}}\n  targets: {apps: {a: {timeout: t}}}";
    for bad in [
        "  policies: {timeouts: {t: 9, x: soon}}\n  targets: {apps: {a: {timeout: t}}}",
        "  policies: {timeouts: {t: 9}, retries: {x: {policy: linear}}}",
        "  policies: {timeouts: {t: 9}, retries: {x: {duration: 5 s}}}",
        "  policies: {timeouts: {t: 9}, retries: {x: {matching: {httpStatusCodes: '600'}}}}",
        "  policies: {timeouts: {t: 9}, retries: {x: {matching: {gRPCStatusCodes: '400'}}}}",
        "  policies: {timeouts: {t: 9}, circuitBreakers: {x: {maxRequests: -1}}}",
        "  policies: {timeouts: {t: 9}, circuitBreakers: {x: {trip: 'a >'}}}",
        "  policies: {timeouts: {t: 9}, circuitBreakers: {x: {trip: 'max(requests, 1) > 1'}}}",
        "  policies: {timeouts: {t: 9}}\n  targets: {apps: {a: {circuitBreakerCacheSize: -1}}}",
    ] {
        let (policies, noted) = observed(&[good, bad]);
        let policy = policy_of(&policies, "a").unwrap();
        assert_eq!(policy.timeout.limit, Some(Duration::from_millis(1)), "{bad}");
        // Dapr labels metrics with the last resource, even if nothing of it is used.
        assert_eq!(noted.take(), ["loaded r0", "target a of r1"], "{bad}");
    }
}

#[test]
fn a_mistake_in_actors_spoils_nothing() {
    for actors in [
        "{x: {circuitBreaker: c}}",
        "{x: {circuitBreaker: c, circuitBreakerScope: all}}",
        "{x: {circuitBreakerCacheSize: -1}}",
    ] {
        let spec = format!(
            "  policies: {{timeouts: {{t: 9}}}}\n  targets: {{apps: {{a: {{timeout: t}}}}, actors: {actors}}}"
        );
        let (policies, noted) = observed(&[&spec]);
        assert!(policy_of(&policies, "a").unwrap().timeout.limit.is_some());
        assert_eq!(noted.take(), ["target a of r0"], "it counts as not loaded");
    }
}

#[test]
fn breakers_outlive_what_is_known_of_a_target_and_are_bounded() {
    use invoke_core::attempts::{Attempts, CallFacts, Road};
    let spec = "  policies: {circuitBreakers: {c: {trip: 'true'}}}
  targets: {apps: {a: {circuitBreaker: c, circuitBreakerCacheSize: 2}}}";
    let policies = policies(&[spec]);
    let is_open = |method: &[u8]| {
        let policy = policy_of(&policies, "a").unwrap();
        let mut run = policies
            .begin(&policy, CallFacts::new(Road::Http, method))
            .unwrap();
        // Dropped without a word: its caller went away, which is a failure.
        run.admit().is_err()
    };
    assert!(!is_open(b"x"));
    assert!(is_open(b"x"));
    assert!(!is_open(b"y"), "each method has its own");
    assert!(is_open(b"x"));
    assert!(!is_open(b"z"));
    assert!(!is_open(b"y"), "the one that was used longest ago begins anew");
}

#[test]
fn breakers_outlive_a_change_that_is_not_theirs() {
    let spec = |trip: u8, size: u8, more: &str| {
        format!(
            "  policies:\n    circuitBreakers:\n      c: {{trip: consecutiveFailures > {trip}}}\n{more}  targets:\n    \
             apps:\n      app: {{circuitBreaker: c, circuitBreakerCacheSize: {size}}}\n"
        )
    };
    let breakers = |policies: &Policies| policy_of(policies, "app").unwrap().breakers.clone().unwrap();
    for (changed, is_same) in [
        (spec(1, 10, ""), true),
        (spec(1, 10, "    timeouts: {t: 1s}\n"), true),
        (spec(2, 10, ""), false),
        (spec(1, 11, ""), false),
    ] {
        let first = policies(&[&spec(1, 10, "")]);
        let known = breakers(&first);
        let resources = [resource("next", &changed)];
        let next = first.replaced(&resources, Settings::default(), Arc::new(Unobserved));
        assert_eq!(Arc::ptr_eq(&known, &breakers(&next)), is_same, "{changed}");
    }
}
