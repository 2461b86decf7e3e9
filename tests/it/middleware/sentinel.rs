//! Rules of Sentinel in a sidecar.

use integration_tests::{HttpApp, Protocol, text};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Stage, started};

async fn get(url: String) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Windows are so long that none ends while a test runs.
#[tokio::test]
async fn calls_pass_as_rules_say() {
    let app = HttpApp::start(Protocol::Http, |request| async move {
        let is_broken = request.uri().path() == "/broken";
        text(if is_broken { 503 } else { 200 }, "app")
    })
    .await;
    let resource = |method: &str| format!("GET:/v1.0/invoke/me/method/{method}");
    let flow = json!([{"resource": resource("few"), "threshold": 2, "statIntervalInMs": 3_600_000}]);
    let breaker = json!([{
        "resource": resource("broken"), "strategy": 2, "threshold": 2, "retryTimeoutMs": 3_600_000,
        "statIntervalMs": 3_600_000,
    }]);
    let stage = Stage::new(&[("rules", "sentinel")], &[]);
    stage.middleware(
        "rules",
        "sentinel",
        &[
            ("appName", "me"),
            ("flowRules", &flow.to_string()),
            ("circuitBreakerRules", &breaker.to_string()),
            ("systemRules", r#"[{"metricType": 9}]"#),
        ],
    );
    let sidecar = started(stage.sidecar("me").app_port(app.port)).await;
    let told = "sentinel: rule 1 of systemRules is ignored: invalid metric type";
    assert!(sidecar.log().contains(told), "{}", sidecar.log());
    let blocked = (429, "Too Many Requests".to_owned());
    for (method, wanted) in [
        ("few", (200, "app".to_owned())),
        ("few", (200, "app".to_owned())),
        ("few", blocked.clone()),
        ("others", (200, "app".to_owned())),
        ("broken", (503, "app".to_owned())),
        ("broken", (503, "app".to_owned())),
        ("broken", blocked),
    ] {
        assert_eq!(get(sidecar.invoke_url("me", method)).await, wanted, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_at_a_time() {
    static ENTERED: Semaphore = Semaphore::const_new(0);
    static GO: Semaphore = Semaphore::const_new(0);
    let app = HttpApp::start(Protocol::Http, |_| async {
        ENTERED.add_permits(1);
        GO.acquire().await.unwrap().forget();
        text(200, "app")
    })
    .await;
    let stage = Stage::new(&[], &[("rules", "sentinel")]);
    let rules = r#"[{"resource": "GET:/m", "threshold": 1}]"#;
    stage.middleware("rules", "sentinel", &[("isolationRules", rules)]);
    let sidecar = stage.sidecar("me").app_port(app.port).start().await;
    let url = sidecar.invoke_url("me", "m");
    let first = tokio::spawn(get(url.clone()));
    ENTERED.acquire().await.unwrap().forget();
    assert_eq!(get(url.clone()).await, (429, "Too Many Requests".to_owned()));
    GO.add_permits(2);
    assert_eq!(first.await.unwrap(), (200, "app".to_owned()));
    assert_eq!(get(url).await, (200, "app".to_owned()));
}

#[tokio::test]
async fn rules_that_cannot_be_read_are_fatal() {
    let stage = Stage::new(&[("rules", "sentinel")], &[]);
    stage.middleware("rules", "sentinel", &[("flowRules", r#"[{"resource": 7}]"#)]);
    let exit = stage.sidecar("me").without_waiting().start().await.exit().await;
    assert_eq!(exit.code, Some(1));
    for wanted in [
        "rules (middleware.http.sentinel/v1)",
        "fail to load sentinel flow rules",
        "rule 1: resource: a text is expected, not 7",
    ] {
        assert!(exit.stdout.contains(wanted), "{}", exit.stdout);
    }
}
