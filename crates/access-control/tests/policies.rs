//! Defaults, identities, verbs, what is refused and what is warned about.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, and shows why"
)]

mod common;

use std::sync::Arc;

use access_control::{AppKind, BrokenPolicies, Policy, Source, Unobserved};
use common::{CALLER, Told, allows, compile, decide, operation, passes, policy, spec};
use invoke_core::{Authorize, Caller, Decision, Manner, MethodPath, Verb};
use resources::{AccessControl, AppPolicy};

fn denied(decision: Decision) -> String {
    match decision {
        Decision::Allow => "allowed".to_owned(),
        Decision::Deny(denied) => denied.to_string(),
    }
}

#[test]
fn defaults_at_each_level() {
    let no_list = |action: Option<&str>| AccessControl {
        default_action: action.map(ToOwned::to_owned),
        ..AccessControl::default()
    };
    let nothing = AccessControl {
        default_action: Some(String::new()),
        trust_domain: String::new(),
        policies: None,
    };
    let plain = |default: &str| vec![policy(default, Vec::new())];
    for (spec, named, other) in [
        (no_list(None), true, true),
        (no_list(Some("")), false, false),
        (no_list(Some("deny")), false, false),
        (no_list(Some("Allow")), true, true),
        (nothing, true, true),
        (spec(Some(""), vec![]), true, true),
        (spec(Some(""), plain("allow")), true, false),
        (spec(Some("deny"), plain("ALLOW")), true, false),
        (spec(None, plain("deny")), false, true),
        (spec(None, plain("permit")), false, true),
        (spec(Some("allw"), plain("")), false, false),
        (spec(None, plain("")), true, true),
    ] {
        let policy = compile(&spec, AppKind::Http);
        let is_allowed = |caller| decide(&policy, caller, "m", Some(Verb::GET)) == Decision::Allow;
        assert_eq!(is_allowed(CALLER), named, "{spec:?}");
        assert_eq!(is_allowed("spiffe://public/ns/default/other"), other, "{spec:?}");
        assert_eq!(is_allowed(""), other, "{spec:?}");
    }
}

#[test]
fn identities() {
    let policy = compile(
        &spec(
            Some("deny"),
            vec![policy("allow", vec![operation("/secret", &["*"], "deny")])],
        ),
        AppKind::Http,
    );
    let text = "access control policy has denied access to id: ";
    for (id, wanted) in [
        (CALLER, "allowed".to_owned()),
        ("spiffe://public/ns/default/c/more", "allowed".to_owned()),
        ("", format!("{text} operation: A/b verb: GET")),
        (
            "spiffe://other/ns/default/c",
            format!("{text}spiffe://other/ns/default/c operation: A/b verb: GET"),
        ),
        (
            "spiffe://public/ns/other/c",
            format!("{text}spiffe://public/ns/other/c operation: A/b verb: GET"),
        ),
        (
            "spiffe://public/sa/c",
            "malformed SPIFFE ID: spiffe://public/sa/c".to_owned(),
        ),
        ("garbage", "malformed SPIFFE ID: garbage".to_owned()),
    ] {
        assert_eq!(denied(decide(&policy, id, "A//b", Some(Verb::GET))), wanted);
    }
}

#[test]
fn a_malformed_identity_is_denied_although_all_are_allowed() {
    let policy = compile(&AccessControl::default(), AppKind::Http);
    assert_eq!(decide(&policy, "", "m", None), Decision::Allow);
    assert_eq!(denied(decide(&policy, "x", "m", None)), "malformed SPIFFE ID: x");
    // Without any access control nobody asks.
    let (policy, _) = Policy::compile(None, AppKind::Http, Arc::new(Unobserved)).unwrap();
    assert_eq!(decide(&policy, "x", "m", None), Decision::Allow);
}

#[test]
fn verbs() {
    let operations = vec![
        operation("/get", &["GET", "PUT"], "allow"),
        operation("/any", &["*"], "allow"),
        operation("/lower", &["get"], "allow"),
        operation("/none", &[], "allow"),
    ];
    for (default, undecided) in [("deny", false), ("", true)] {
        let spec = spec(Some("allow"), vec![policy(default, operations.clone())]);
        let policy = compile(&spec, AppKind::Http);
        for (method, verb, wanted) in [
            ("get", Verb::GET, true),
            ("get", Verb::PUT, true),
            ("get", Verb::POST, undecided),
            ("any", Verb::PATCH, true),
            ("any", Verb::from_number(77), true),
            ("get", Verb::from_number(77), undecided),
            ("get", Verb::from_number(-1), undecided),
            ("lower", Verb::GET, undecided),
            ("none", Verb::GET, undecided),
            // A policy without a default denies a call that has no verb.
            ("any", Verb::NONE, false),
            ("other", Verb::NONE, undecided),
        ] {
            assert_eq!(
                allows(&policy, method, verb),
                wanted,
                "{default:?} {method} {verb}"
            );
        }
        // For gRPC apps the action alone counts.
        let policy = compile(&spec, AppKind::Grpc);
        for method in ["get", "any", "lower", "none"] {
            assert!(allows(&policy, method, Verb::NONE), "{method}");
        }
    }
}

#[test]
fn what_is_passed_on_has_no_verb() {
    let operations = vec![
        operation("/one", &["POST"], "allow"),
        operation("/two", &["POST"], "deny"),
        operation("/Svc/Three", &["*"], "allow"),
        operation("/Svc/Four", &["*"], "deny"),
    ];
    for (default, undecided) in [("allow", true), ("deny", false), ("", true)] {
        let spec = spec(Some("allow"), vec![policy(default, operations.clone())]);
        let http = compile(&spec, AppKind::Http);
        let grpc = compile(&spec, AppKind::Grpc);
        for (path, by_http, by_grpc) in [
            ("/one", true, true),
            ("/two", false, false),
            ("/other", undecided, undecided),
            // Names are in lower case for HTTP apps, and these paths are not: an allowed one is not found.
            ("/Svc/Three", undecided, true),
            ("/svc/three", true, undecided),
            ("/Svc/Four", false, false),
            ("/svc/four", false, undecided),
            ("/TWO", false, undecided),
            ("/two%2Fx", false, undecided),
        ] {
            assert_eq!(passes(&http, path), by_http, "{default:?} {path}");
            assert_eq!(passes(&grpc, path), by_grpc, "{default:?} {path}");
        }
    }
}

#[test]
fn case_matters_to_grpc_apps_only() {
    let spec = spec(
        None,
        vec![policy("deny", vec![operation("/Größe", &["*"], "allow")])],
    );
    let http = compile(&spec, AppKind::Http);
    for (method, wanted) in [
        ("größe", true),
        ("GRÖSSE", false),
        ("/GRÖßE", true),
        ("gr%C3%96%C3%9Fe", false),
    ] {
        assert_eq!(allows(&http, method, Verb::GET), wanted, "{method}");
    }
    let grpc = compile(&spec, AppKind::Grpc);
    assert!(allows(&grpc, "Größe", Verb::NONE));
    assert!(!allows(&grpc, "größe", Verb::NONE));
}

#[test]
fn encodings_pass_no_rule_of_http_apps() {
    let operations = || vec![operation("/admin/**", &["*"], "deny")];
    let spec = spec(None, vec![policy("allow", operations())]);
    let http = compile(&spec, AppKind::Http);
    for method in [
        "admin%2Fx",
        "admin%252fx",
        "%61dmin/x",
        "%41dmin",
        "%2561dmin",
        "public%2F..%2Fadmin",
        "public%2f%2e%2e%2fadmin%2fx",
        "public%252F%252E%252E%252Fadmin",
        "%2Fadmin",
        "%2F%2Fadmin",
        "./%2e/admin",
        "admin%3Fx",
        "admin%23",
        "admin%00",
        "admin%2F..%2Fpublic",
    ] {
        assert!(!allows(&http, method, Verb::GET), "{method}");
    }
    for method in [
        "public",
        "public%2Fadmin",
        "adminx",
        "admin%5Cx",
        "admin;x",
        "ad%6Din2",
        "%",
    ] {
        assert!(allows(&http, method, Verb::GET), "{method}");
    }
    // gRPC apps decode nothing.
    assert!(allows(&compile(&spec, AppKind::Grpc), "admin%2Fx", Verb::NONE));
}

#[test]
fn the_last_policy_for_an_app_counts() {
    let other = AppPolicy {
        trust_domain: "other".into(),
        ..policy("allow", Vec::new())
    };
    let spec = spec(Some("deny"), vec![policy("allow", Vec::new()), other]);
    assert!(!allows(&compile(&spec, AppKind::Http), "m", Verb::GET));
}

#[test]
fn decisions_are_told() {
    let told = Arc::new(Told::default());
    let spec = spec(
        Some("deny"),
        vec![
            policy("allow", vec![operation("/no", &["*"], "deny")]),
            AppPolicy {
                app_id: "d".into(),
                ..policy("", vec![operation("/yes", &["*"], "allow")])
            },
        ],
    );
    let (policy, _) = Policy::compile(Some(&spec), AppKind::Http, told.clone()).unwrap();
    let d = "spiffe://public/ns/default/d";
    for (id, method, source, is_allowed) in [
        (CALLER, "m", Source::App, true),
        (CALLER, "no", Source::App, false),
        (d, "yes", Source::Global, true),
        (d, "m", Source::Global, false),
        ("", "m", Source::Global, false),
    ] {
        decide(&policy, id, method, Some(Verb::GET));
        assert_eq!(
            told.0.lock().unwrap().pop().unwrap(),
            (id.to_owned(), source, is_allowed)
        );
    }
    decide(&policy, "malformed", "m", Some(Verb::GET));
    assert!(told.0.lock().unwrap().is_empty());
}

#[test]
fn policies_must_say_whom_they_are_for() {
    let text = |policies: Vec<AppPolicy>| {
        let spec = spec(None, policies);
        let broken = Policy::compile(Some(&spec), AppKind::Http, Arc::new(Unobserved));
        broken
            .map(|_| ())
            .map_err(|error: BrokenPolicies| error.to_string())
    };
    let app = |app: &str, namespace: &str, trust_domain: &str| AppPolicy {
        app_id: app.into(),
        namespace: namespace.into(),
        trust_domain: trust_domain.into(),
        ..AppPolicy::default()
    };
    for (policies, trust_domain, namespace, is_app_missing) in [
        (vec![app("a", "n", "")], "a", "", false),
        (vec![app("a", "", "t"), app("b", "", "t")], "", "a b", false),
        (vec![app("", "n", "t")], "", "", true),
        (
            vec![
                app("a", "", ""),
                app("", "", "t"),
                app("b", "n", "t"),
                app("c", "n", ""),
            ],
            "a c",
            "a ",
            true,
        ),
    ] {
        let wanted = format!(
            "invalid access control spec. missing trustdomain for apps: [{trust_domain}], \
             missing namespace for apps: [{namespace}], \
             missing app name on at least one of the app policies: {is_app_missing}"
        );
        assert_eq!(text(policies), Err(wanted));
    }
    assert_eq!(text(vec![app("a", "n", "t")]), Ok(()));
}

#[test]
fn what_looks_like_a_mistake_is_told() {
    let findings = |spec: &AccessControl, kind| -> Vec<String> {
        let (_, found) = Policy::compile(Some(spec), kind, Arc::new(Unobserved)).unwrap();
        found.iter().map(ToString::to_string).collect()
    };
    let in_operations = |operations: &[(&str, &[&str], &str)], kind| {
        let operations = operations
            .iter()
            .map(|(name, verbs, action)| operation(name, verbs, action));
        findings(
            &spec(Some("allow"), vec![policy("deny", operations.collect())]),
            kind,
        )
    };
    let any: &[&str] = &["*"];
    for (operations, wanted) in [
        (
            &[("/a", any, "allow"), ("/a/b*", any, "deny")][..],
            "because \"/a\" matches first",
        ),
        (
            &[("/a*", any, "allow"), ("/ab", any, "deny")],
            "\"/ab\" does not decide about \"/ab\"",
        ),
        (
            &[("/a*/b", any, "allow"), ("/ab/c", any, "deny")],
            "\"/ab/c\" is never reached",
        ),
        (
            &[("/a*", any, "allow"), ("/a*b", any, "deny")],
            "\"/a*b\" does not decide",
        ),
        (
            &[("/*", any, "allow"), ("/x", any, "deny")],
            "because \"/*\" matches first",
        ),
        (
            &[("/a", any, "allow"), ("A", any, "deny")],
            "\"A\" is there twice (numbers 1 and 2)",
        ),
        (
            &[("/x/*/y", any, "allow")],
            "* stands for a whole segment at the end only",
        ),
        (&[("/public/", any, "allow")], "\"/public/\" matches no method"),
        (&[("/a/../b", any, "allow")], "matches no method"),
        (&[("/a?b", any, "allow")], "matches no method"),
        (&[("/a%20b", any, "allow")], "\"/a%20b\" has an escape"),
        (
            &[("/a", &["get"], "allow")],
            "verbs are compared in upper case, \"get\"",
        ),
        (&[("/a", &["GTE"], "allow")], "no call has the verb \"GTE\""),
        (&[("/a", &[], "allow")], "has no httpVerb"),
        (&[("/a", any, "")], "the action \"\" is not known and denies"),
        (&[("/a", any, "alow")], "the action \"alow\" is not known"),
    ] {
        let found = in_operations(operations, AppKind::Http);
        assert_eq!(found.len(), 1, "{operations:?}: {found:#?}");
        assert!(found[0].contains(wanted), "{operations:?}: {found:#?}");
        assert!(
            found[0].contains("app \"c\" in namespace \"default\""),
            "{found:#?}"
        );
    }
    for fine in [
        &[("/a", any, "allow"), ("/b/**", &["GET", "POST"][..], "Deny")][..],
        &[("/x/y", any, "allow"), ("/x/*", any, "deny"), ("/", any, "allow")],
        &[("/op1/**/a", any, "allow"), ("", any, "deny")],
    ] {
        assert_eq!(in_operations(fine, AppKind::Http), [""; 0], "{fine:?}");
    }
    let for_grpc = [("/a.B/C", &[][..], "allow"), ("/a.b/c", &[], "allow")];
    assert_eq!(in_operations(&for_grpc, AppKind::Grpc), [""; 0]);
    for (spec, wanted) in [
        (
            spec(None, vec![policy("", Vec::new())]),
            "callers that no policy names are allowed",
        ),
        (
            spec(Some(""), vec![policy("", Vec::new())]),
            "No global default action has been specified. Setting default global action as Deny",
        ),
        (
            spec(Some("x"), Vec::new()),
            "spec.accessControl.defaultAction: the action \"x\"",
        ),
        (
            spec(
                Some("deny"),
                vec![policy("deny", Vec::new()), policy("allow", Vec::new())],
            ),
            "there is more than one",
        ),
        (
            spec(Some("deny"), vec![policy("x", Vec::new())]),
            "defaultAction: the action \"x\"",
        ),
        (
            spec(
                Some("deny"),
                vec![AppPolicy {
                    trust_domain: "Public".into(),
                    ..policy("", Vec::new())
                }],
            ),
            "trust domain \"Public\"",
        ),
        (
            spec(
                Some("deny"),
                vec![AppPolicy {
                    app_id: "a/b".into(),
                    ..policy("", Vec::new())
                }],
            ),
            "slash in its appId",
        ),
    ] {
        let found = findings(&spec, AppKind::Http);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(wanted), "{found:#?}");
    }
    let many: Vec<_> = (0..150).map(|_| ("/a/", any, "allow")).collect();
    let found = in_operations(&many, AppKind::Http);
    assert_eq!(found.len(), 101);
    assert!(found[100].ends_with("more findings in access control policies"));
    assert_eq!(findings(&AccessControl::default(), AppKind::Http), [""; 0]);
}

#[test]
fn what_is_not_configured_costs_no_memory() {
    let policy = compile(&AccessControl::default(), AppKind::Http);
    let with_rules = spec(
        Some("deny"),
        vec![common::policy("allow", vec![operation("/a", &["*"], "deny")])],
    );
    let with_rules = compile(&with_rules, AppKind::Http);
    let (method, caller) = (MethodPath::parse("m/n").unwrap(), common::caller(CALLER));
    let counted = allocation_counter::measure(|| {
        for caller in [&Caller::default(), &caller] {
            assert_eq!(
                policy.authorize(caller, &method, Manner::Invoked(Some(Verb::GET))),
                Decision::Allow
            );
        }
        assert_eq!(
            with_rules.authorize(&caller, &method, Manner::Invoked(Some(Verb::GET))),
            Decision::Allow
        );
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_finding_tells_its_place() {
    let operations = vec![operation("/a", &["*"], "allow"), operation("/b", &["*"], "maybe")];
    let policies = vec![
        policy("deny", Vec::new()),
        AppPolicy {
            app_id: "x/y".to_owned(),
            ..policy("deny", Vec::new())
        },
        policy("deny", operations),
    ];
    let (_, found) = Policy::compile(
        Some(&spec(Some("perhaps"), policies)),
        AppKind::Http,
        Arc::new(Unobserved),
    )
    .unwrap();
    let places: Vec<String> = found.iter().map(|finding| finding.path.join(".")).collect();
    let wanted = [
        "spec.accessControl.policies.1.appId",
        "spec.accessControl.policies.2.operations.1.action",
        "spec.accessControl.policies.2.appId",
        "spec.accessControl.defaultAction",
    ];
    assert_eq!(places, wanted, "{found:#?}");
}
