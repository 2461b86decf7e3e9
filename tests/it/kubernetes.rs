//! The mode for Kubernetes: resources come from an operator, identity always from sentry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use integration_tests::collector::{Collector, Spoken};
use integration_tests::operator::{Operator, OperatorAnswer, OperatorRequest};
use integration_tests::sentry::Sentry;
use integration_tests::{DaprdBuilder, HttpApp, Mesh, Protocol, free_port};
use serde_json::{Value, json};

const FATAL: &str = "Fatal error from runtime: ";

/// A sidecar in Kubernetes. Its operator is told by `--control-plane-address`.
fn pod(app_id: &str, sentry: &Sentry, operator: &str) -> DaprdBuilder {
    DaprdBuilder::new(app_id)
        .arg("--mode=kubernetes")
        .arg(format!("--sentry-address={}", sentry.address))
        .arg(format!("--control-plane-address={operator}"))
        .arg("--disable-builtin-k8s-secret-store")
        .env("DAPR_TRUST_ANCHORS", &sentry.anchors())
        .env("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK", "true")
}

/// What the operator has: a configuration, and the resources of one namespace.
fn operator_of(
    configuration: Value,
    endpoints: Vec<Value>,
) -> impl Fn(&OperatorRequest) -> OperatorAnswer + Send + Sync {
    move |asked| match asked.method.as_str() {
        "GetConfiguration" if asked.fields[&1] == "conf" => {
            OperatorAnswer::Resources(vec![configuration.to_string()])
        }
        "ListHTTPEndpoints" => OperatorAnswer::Resources(endpoints.iter().map(ToString::to_string).collect()),
        "ListResiliency" => {
            let policies = json!({"metadata": {"name": "policies"}, "spec": {
                "policies": {"retries": {"r": {"maxRetries": 1, "duration": "10ms"}}},
                "targets": {"apps": {"nobody": {"retry": "r"}}}}});
            OperatorAnswer::Resources(vec![policies.to_string(), "[".to_owned()])
        }
        "ListComponents" => {
            let store =
                json!({"metadata": {"name": "store"}, "spec": {"type": "state.in-memory", "version": "v1"}});
            OperatorAnswer::Resources(vec![store.to_string()])
        }
        _ => OperatorAnswer::Resources(Vec::new()),
    }
}

fn names_in(mesh: &Mesh) -> Value {
    let path = mesh.folder().join("names.db").display().to_string();
    json!({"component": "sqlite", "configuration": {"connectionString": path}})
}

#[tokio::test]
async fn resources_come_from_the_operator() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    let app = HttpApp::echo(Protocol::Http).await;
    let base = format!("http://127.0.0.1:{}", app.port);
    let endpoint = |name: &str, more: Value| {
        let mut endpoint = json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"baseUrl": base, "headers": [{
                "name": "X-Secret",
                "value": STANDARD.encode("the secret"),
                "secretKeyRef": {"name": "s", "key": "k"},
            }]},
        });
        endpoint
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        endpoint
    };
    let configuration = json!({"metadata": {"name": "conf"}, "spec": {
        "nameResolution": names_in(&mesh),
        "accessControl": {"defaultAction": "deny", "trustDomain": "public", "policies": [
            {"appId": "K1-two", "namespace": "default", "trustDomain": "public", "defaultAction": "allow"}]},
    }});
    let endpoints = vec![
        endpoint("web", json!({})),
        endpoint("foreign", json!({"scopes": ["else"]})),
    ];
    let operator = Operator::start(sentry.authority(), operator_of(configuration, endpoints)).await;
    let start = |id: &str| {
        pod(id, &sentry, &operator.address)
            .arg("--config=conf")
            .arg("--enable-mtls")
            .app_port(app.port)
            .start()
    };
    let (one, two) = (start("K1-one").await, start("K1-two").await);
    // The policy of the configuration judges by what sentry certified.
    for (from, to, status) in [(&two, "K1-one", 200), (&one, "K1-two", 403)] {
        let answer = reqwest::get(from.invoke_url(to, "m")).await.unwrap();
        assert_eq!(answer.status(), status, "{to}");
    }
    let seen = reqwest::get(one.invoke_url("web", "m")).await.unwrap();
    let seen = seen.text().await.unwrap();
    assert!(seen.contains(r#"["x-secret","the secret"]"#), "{seen}");
    let metadata = reqwest::get(one.url("/v1.0/metadata")).await.unwrap();
    let metadata: Value = metadata.json().await.unwrap();
    assert_eq!(metadata["httpEndpoints"], json!([{"name": "web"}]));
    assert_eq!(metadata["components"][0]["name"], "store");
    assert_eq!(metadata["components"].as_array().unwrap().len(), 1);
    assert_eq!(metadata["resiliencies"], json!([{"name": "policies"}]));
    let gone = reqwest::get(one.invoke_url("nobody", "m")).await.unwrap();
    assert_eq!(gone.status(), 500);
    for line in [
        "kubernetes mode configured",
        "Could not parse resiliency: ",
        "Error processing operation endpoint[nobody, nobody:m]. Retrying in 10ms",
    ] {
        assert!(one.log().contains(line), "{line}\n{}", one.log());
    }
    assert!(
        !one.log().contains("the secret"),
        "a secret is in the log: {}",
        one.log()
    );
    let asked = operator.seen();
    let configuration = asked
        .iter()
        .find(|asked| asked.method == "GetConfiguration")
        .unwrap();
    assert!(
        !configuration.fields.contains_key(&2),
        "no namespace was given: {configuration:?}"
    );
    let list = asked
        .iter()
        .find(|asked| asked.method == "ListHTTPEndpoints")
        .unwrap();
    assert_eq!(list.fields[&1], "default");
}

#[tokio::test]
async fn the_operator_is_waited_for() {
    let sentry = Sentry::start().await;
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let daprd = pod("K2-app", &sentry, &address).without_waiting().start().await;
    daprd.await_log("No connection to the operator at ").await;
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    let id = "spiffe://localhost/ns/default/dapr-operator";
    let shown = sentry.authority().issue(id).certified();
    let _operator = Operator::start_on(listener, sentry.authority(), shown, |_| {
        OperatorAnswer::Resources(Vec::new())
    });
    daprd.await_health().await;
}

#[tokio::test]
async fn whoever_waits_for_the_operator_can_be_stopped() {
    let sentry = Sentry::start().await;
    let address = format!("127.0.0.1:{}", free_port());
    let daprd = pod("K2-stopped", &sentry, &address)
        .without_waiting()
        .start()
        .await;
    daprd.await_log("No connection to the operator at ").await;
    let exit = daprd.stop().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    let reason = "Fatal error from runtime: context canceled: connection error: desc = ";
    assert!(exit.stdout.contains(reason), "{}", exit.stdout);
}

#[tokio::test]
async fn what_the_operator_does_not_give_ends_the_start() {
    let sentry = Sentry::start().await;
    let only = |method: &'static str, answer: OperatorAnswer| {
        move |asked: &OperatorRequest| {
            if asked.method == method {
                answer.clone()
            } else {
                OperatorAnswer::Resources(vec![])
            }
        }
    };
    let resource = |text: &str| OperatorAnswer::Resources(vec![text.to_owned()]);
    for (method, answer, wanted) in [
        (
            "GetConfiguration",
            OperatorAnswer::Resources(Vec::new()),
            "error loading configuration: configuration conf not found",
        ),
        (
            "GetConfiguration",
            OperatorAnswer::Status(7, "no"),
            "error loading configuration: rpc error: code = PermissionDenied desc = no",
        ),
        (
            "GetConfiguration",
            resource(r#"{"spec":{"metric":{"enabled":"maybe"}}}"#),
            "error loading configuration: ",
        ),
        (
            "ListComponents",
            OperatorAnswer::Status(7, "no"),
            "failed to load components: rpc error: code = PermissionDenied desc = no",
        ),
        (
            "ListComponents",
            resource(r#"{"spec":{"metadata":5}}"#),
            "failed to load components: error deserializing component: Component 1 of the operator: ",
        ),
    ] {
        let operator = Operator::start(sentry.authority(), only(method, answer)).await;
        let mut builder = pod("K3-app", &sentry, &operator.address).without_waiting();
        if method == "GetConfiguration" {
            builder = builder.arg("--config=conf");
        }
        let exit = builder.start().await.exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.stdout);
        let wanted = format!("{FATAL}{wanted}");
        assert!(exit.stdout.contains(&wanted), "{wanted}\n{}", exit.stdout);
    }
    // Endpoints are no reason not to start.
    let endpoints = only("ListHTTPEndpoints", resource("5"));
    let operator = Operator::start(sentry.authority(), endpoints).await;
    let daprd = pod("K3-app", &sentry, &operator.address).start().await;
    assert!(
        daprd
            .log()
            .contains("failed to load HTTP endpoints: error deserializing http endpoint: ")
    );
}

#[tokio::test]
async fn the_secrets_of_kubernetes_need_credentials() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    let operator = Operator::start(sentry.authority(), |_| OperatorAnswer::Resources(Vec::new())).await;
    let file = mesh.folder().join("kubeconfig");
    let start = |text: &str| {
        std::fs::write(&file, text).unwrap();
        DaprdBuilder::new("K4-app")
            .arg("--mode=kubernetes")
            .arg(format!("--sentry-address={}", sentry.address))
            .arg(format!("--control-plane-address={}", operator.address))
            .env("DAPR_TRUST_ANCHORS", &sentry.anchors())
            .env("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK", "true")
            .env("KUBECONFIG", &file.display().to_string())
    };
    let exit = start("not a valid kubeconfig")
        .without_waiting()
        .start()
        .await
        .exit()
        .await;
    assert_eq!(exit.code, Some(1));
    for line in [
        "Failed to init component kubernetes (secretstores.kubernetes/v1)",
        "Error processing component, daprd will exit gracefully: process component kubernetes error",
    ] {
        assert!(exit.stdout.contains(line), "{line}\n{}", exit.stdout);
    }
    let valid = "current-context: c\ncontexts:\n- {name: c, context: {cluster: k}}\nclusters:\n- {name: k, cluster: \
                 {server: \"https://127.0.0.1:1\"}}\n";
    let daprd = start(valid).start().await;
    let metadata = reqwest::get(daprd.url("/v1.0/metadata")).await.unwrap();
    let metadata: Value = metadata.json().await.unwrap();
    assert_eq!(metadata["components"][0]["type"], "secretstores.kubernetes");
}

/// Headers for the collector come as names and values, with the secrets that the operator has put there.
#[tokio::test]
async fn spans_go_to_the_collector_of_the_operator() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    let (app, collector) = (
        HttpApp::echo(Protocol::Http).await,
        Collector::start(Spoken::Http).await,
    );
    let configuration = json!({"metadata": {"name": "conf"}, "spec": {
        "nameResolution": names_in(&mesh),
        "tracing": {"samplingRate": "1", "otel": {
            "endpointAddress": format!("127.0.0.1:{}", collector.port),
            "protocol": "http",
            "isSecure": false,
            "timeout": "5s",
            "headers": [{"name": "x-api-key", "value": "hush"}],
        }},
    }});
    let operator = Operator::start(sentry.authority(), operator_of(configuration, Vec::new())).await;
    let sidecar = pod("K5", &sentry, &operator.address)
        .arg("--config=conf")
        .app_port(app.port)
        .start()
        .await;
    assert_eq!(
        reqwest::get(sidecar.invoke_url("K5", "m"))
            .await
            .unwrap()
            .status(),
        200
    );
    let exit = sidecar.stop().await;
    assert_eq!(exit.code, Some(0));
    let exports = collector.exports();
    assert_eq!(exports[0].headers["x-api-key"], "hush");
    assert_eq!(exports[0].spans[0].service(), "K5");
    assert!(!exit.stdout.contains("hush"), "{}", exit.stdout);
}
