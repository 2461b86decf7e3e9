//! Every kind of resource takes effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use integration_tests::{HttpApp, Protocol, eventually, text};

use super::{Stage, component, endpoint, policy};

async fn status_of(stage: &Stage, target: &str) -> u16 {
    let answer = reqwest::get(stage.sidecar.invoke_url(target, "m")).await.unwrap();
    answer.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints() {
    let stage = Stage::new("RK1", &[]).await;
    let web =
        [203, 202].map(|status| HttpApp::start(Protocol::Http, move |_| async move { text(status, "") }));
    let [first, second] = web;
    let (first, second) = tokio::join!(first, second);
    let base = |app: &HttpApp| format!("http://127.0.0.1:{}", app.port);
    assert_ne!(status_of(&stage, "web").await, 203);
    stage.write("web.yaml", &endpoint("web", &base(&first)));
    stage.lists(1, &["web"]).await;
    assert_eq!(status_of(&stage, "web").await, 203);
    stage.write("web.yaml", &endpoint("web", &base(&second)));
    eventually("the other address", || async {
        status_of(&stage, "web").await == 202
    })
    .await;
    stage.write(
        "web.yaml",
        &(endpoint("web", &base(&first)) + "scopes: [somebody-else]\n"),
    );
    stage.lists(1, &[]).await;
    stage.remove("web.yaml");
    assert_ne!(status_of(&stage, "web").await, 203);
    let log = stage.sidecar.log();
    for became in ["CREATED", "UPDATED", "DELETED"] {
        let line = format!("Received HTTPEndpoint {became} event: web (http://127.0.0.1:");
        assert!(log.contains(&line), "{line}\n{log}");
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_change_nothing() {
    let stage = Stage::new("RK2", &[("web.yaml", &endpoint("web", "http://127.0.0.1:1"))]).await;
    stage.write("again.yaml", &endpoint("web", "http://127.0.0.1:2"));
    stage
        .sidecar
        .await_log("HTTP endpoints stay as they were: duplicate definition")
        .await;
    assert_eq!(stage.listed().await[1], ["web"]);
    stage.remove("again.yaml");
    stage.write("other.yaml", &endpoint("other", "http://127.0.0.1:2"));
    stage.lists(1, &["other", "web"]).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_their_breakers() {
    let breakers = "  policies:\n    circuitBreakers:\n      b: {maxRequests: 1, timeout: 600s, trip: consecutiveFailures > \
                    1}\n    retries:\n      r: {maxRetries: 0}\n  targets:\n    apps:\n";
    let broken = Arc::new(AtomicU16::new(500));
    let app = {
        let status = Arc::clone(&broken);
        HttpApp::start(Protocol::Http, move |_| {
            let status = status.load(Ordering::SeqCst);
            async move { text(status, "") }
        })
        .await
    };
    let web = endpoint("web", &format!("http://127.0.0.1:{}", app.port));
    let policies = policy(
        "p",
        &format!("{breakers}      web: {{circuitBreaker: b, retry: r}}\n"),
    );
    let stage = Stage::new("RK3", &[("web.yaml", &web), ("p.yaml", &policies)]).await;
    for _ in 0..2 {
        assert_eq!(status_of(&stage, "web").await, 500);
    }
    let is_open = || async {
        let answer = reqwest::get(stage.sidecar.invoke_url("web", "m")).await.unwrap();
        answer.text().await.unwrap().contains("circuit breaker is open")
    };
    assert!(is_open().await);
    broken.store(200, Ordering::SeqCst);
    // What has nothing to do with the target leaves its breaker open.
    let more =
        policies.replace("  targets:", "    timeouts: {t: 9s}\n  targets:") + "      other: {timeout: t}\n";
    stage.write("p.yaml", &more);
    stage
        .sidecar
        .await_log("Received Resiliency UPDATED event: p - triggering SIGHUP reload")
        .await;
    stage.write("more.yaml", &(policy("q", "  policies: {}\n")));
    stage.write("c.yaml", &component("c"));
    stage.lists(2, &["p", "q"]).await;
    stage.lists_components(&["c"]).await;
    assert!(is_open().await);
    // A breaker that is set up otherwise is another one.
    stage.write("p.yaml", &more.replace("> 1", "> 2"));
    eventually("the new breaker", || async {
        status_of(&stage, "web").await == 200
    })
    .await;
    stage.remove("p.yaml");
    stage.lists(2, &["q"]).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_and_what_they_say() {
    let stage = Stage::new("RK4", &[]).await;
    let sqlite = component("a").replace("state.in-memory", "state.sqlite") + "  ignoreErrors: true\n";
    stage.write("a.yaml", &component("a"));
    stage.lists_components(&["a"]).await;
    let state = |name: &str| reqwest::get(stage.sidecar.url(&format!("/v1.0/state/{name}/k")));
    for (name, wanted) in [
        (
            "a",
            "state store a is not configured; the component a is listed and does nothing",
        ),
        ("b", "state store b is not configured\""),
    ] {
        let answer = state(name).await.unwrap().text().await.unwrap();
        assert!(answer.contains(wanted), "{answer}");
    }
    stage.write("a.yaml", &sqlite);
    stage.lists_components(&[]).await;
    stage.write("a.yaml", &component("a"));
    stage.lists_components(&["a"]).await;
    let log = stage.sidecar.log();
    for line in [
        "Adding Component for processing: a (state.in-memory/v1)",
        "Component a (state.in-memory/v1) is listed and does nothing",
        "Component updated: a (state.in-memory/v1)",
        "Closing existing Component to reload: a (state.in-memory/v1)",
        "Ignoring error processing component: process component a error: [INIT_COMPONENT_FAILURE]",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_end_the_sidecar() {
    let sqlite = component("a").replace("state.in-memory", "state.sqlite");
    for (id, text, last) in [
        (
            "RK5",
            sqlite,
            "process component a error: [INIT_COMPONENT_FAILURE]",
        ),
        (
            "RK6",
            component("b") + "---\n" + &component("b"),
            "failed to load resources from disk: duplicate definition of Component name b (state.in-memory/v1) with \
             existing b (state.in-memory/v1)",
        ),
    ] {
        let stage = Stage::new(id, &[]).await;
        stage.write("x.yaml", &text);
        let Stage { sidecar, load, .. } = stage;
        let exit = sidecar.exit().await;
        drop(load);
        assert_eq!(exit.code, Some(1));
        let fatal = format!("Fatal error from runtime: {last}");
        assert!(exit.stdout.contains(&fatal), "{}", exit.stdout);
    }
}
