//! Who may call an app, which APIs an app has, and the token.
//!
//! There is mTLS in `identity` alone; without it callers prove nothing, and the default for all decides.

mod grpc;
mod identity;

use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, RawClient, eventually};
use serde_json::Value;

/// A caller and a callee of one mesh.
struct Pair {
    _mesh: Mesh,
    app: HttpApp,
    caller: Daprd,
    callee: Daprd,
}

impl Pair {
    async fn start(spec: &str) -> Self {
        Self::start_with(spec, |sidecar| sidecar).await
    }

    async fn start_with(spec: &str, with: impl Fn(DaprdBuilder) -> DaprdBuilder) -> Self {
        let mesh = Mesh::with_configuration(spec);
        let app = HttpApp::echo(Protocol::Http).await;
        let callee = with(mesh.sidecar("callee").app_port(app.port)).start().await;
        let caller = with(mesh.sidecar("caller")).start().await;
        Self {
            _mesh: mesh,
            app,
            caller,
            callee,
        }
    }

    /// Calls a method of the callee: status and body.
    async fn get(&self, method: &str) -> (u16, String) {
        get(&self.caller.invoke_url("callee", method), &[]).await
    }
}

async fn get(url: &str, headers: &[(&str, &str)]) -> (u16, String) {
    send(reqwest::Method::GET, url, headers).await
}

async fn send(method: reqwest::Method, url: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = reqwest::Client::new().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn target(echo: &str) -> String {
    let echo: Value = serde_json::from_str(echo).unwrap();
    echo["target"].as_str().unwrap().to_owned()
}

const DENY: &str = "  accessControl:
    defaultAction: deny
    policies:
    - appId: caller
      namespace: default
      trustDomain: public
      defaultAction: allow
      operations:
      - {name: /m, httpVerb: ['*'], action: allow}
";

#[tokio::test]
async fn a_caller_without_identity_gets_the_default() {
    let pair = Pair::start(DENY).await;
    let (status, body) = pair.get("A//m").await;
    assert_eq!(status, 403);
    assert_eq!(
        body,
        "{\"errorCode\":\"ERR_DIRECT_INVOKE\",\"message\":\"failed to invoke, id: callee, err: rpc error: \
         code = PermissionDenied desc = access control policy has denied access to id:  \
         operation: A/m verb: GET\"}"
    );
    // What a caller says of itself proves nothing.
    let spoofed = [
        ("dapr-caller-app-id", "caller"),
        ("dapr-caller-namespace", "default"),
    ];
    let url = pair.caller.invoke_url("callee", "m");
    assert_eq!(get(&url, &spoofed).await.0, 403);
    let denied = grpc::invoke(pair.caller.grpc_port, "callee", "m", &[]).await;
    assert_eq!(denied.code, 13);
    assert!(
        denied.message.ends_with("operation: m verb: GET"),
        "{}",
        denied.message
    );
    // The app itself is not asked, and sees nothing of the others.
    let (status, body) = get(&pair.callee.invoke_url("callee", "m"), &[]).await;
    assert_eq!((status, target(&body).as_str()), (200, "/m"));
    pair.callee.await_log("scope=dapr.acl").await;
}

#[tokio::test]
async fn an_upload_that_is_denied_is_answered_at_once() {
    let pair = Pair::start(DENY).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    let head = "POST /v1.0/invoke/callee/method/m HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(head).await;
    client.send("5\r\nhello\r\n").await;
    // The end of the body is never sent.
    let answer = client.receive().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.text().contains("access control policy has denied"));
}

#[tokio::test]
async fn policies_without_a_default_allow_and_warn() {
    let policies = DENY.replace("    defaultAction: deny\n", "");
    let pair = Pair::start(&policies.replace("httpVerb: ['*']", "httpVerb: [get]")).await;
    assert_eq!(pair.get("m").await.0, 200);
    pair.callee
        .await_log("callers that no policy names are allowed")
        .await;
    pair.callee
        .await_log("the access control policies match none of them")
        .await;
    pair.callee.await_log("verbs are compared in upper case").await;
}

#[tokio::test]
async fn decisions_are_counted() {
    let pair = Pair::start(DENY).await;
    assert_eq!(pair.get("m").await.0, 403);
    assert_eq!(pair.get("m").await.0, 403);
    let url = format!("http://127.0.0.1:{}/metrics", pair.callee.metrics_port);
    eventually("two blocked calls", || async {
        get(&url, &[]).await.1.contains(
            "dapr_runtime_acl_global_policy_action_blocked_total{app_id=\"\",namespace=\"\",trustDomain=\"\"} 2\n",
        )
    })
    .await;
    let pair = Pair::start("").await;
    assert_eq!(pair.get("m").await.0, 200);
    let url = format!("http://127.0.0.1:{}/metrics", pair.callee.metrics_port);
    eventually("one allowed call", || async {
        get(&url, &[]).await.1.contains(
            "dapr_runtime_acl_global_policy_action_allowed_total{app_id=\"\",namespace=\"\",trustDomain=\"\"} 1\n",
        )
    })
    .await;
}

#[tokio::test]
async fn policies_that_cannot_be_used_end_the_start() {
    for (spec, wanted) in [
        (
            "  accessControl:\n    policies:\n    - {appId: a}\n    - {namespace: n, trustDomain: t}\n",
            "Fatal error from runtime: invalid access control spec. missing trustdomain for apps: [a], \
             missing namespace for apps: [a], missing app name on at least one of the app policies: true",
        ),
        (
            "  accessControl:\n    policies:\n    - operations:\n      - httpVerb: GET\n",
            "accessControl.policies.0.operations.0.httpVerb",
        ),
    ] {
        let mesh = Mesh::with_configuration(spec);
        let exit = mesh
            .sidecar("broken")
            .without_waiting()
            .start()
            .await
            .exit()
            .await;
        assert_eq!(exit.code, Some(1));
        assert!(exit.stdout.contains(wanted), "{}", exit.stdout);
    }
}

#[tokio::test]
async fn an_allow_list_of_apis() {
    let lists = "  api:\n    allowed:\n    - {name: invoke, version: v1, protocol: http}\n    \
                 - {name: metadata, version: v1, protocol: grpc}\n";
    let pair = Pair::start(lists).await;
    let caller = &pair.caller;
    assert_eq!(pair.get("m").await.0, 200);
    let no_target = "failed getting app id either from the URL path or the header dapr-app-id";
    let (status, body) = get(&caller.url("/v1.0/metadata"), &[]).await;
    assert_eq!(status, 404);
    assert!(body.contains(no_target), "{body}");
    // What is not there is a method like any other.
    let (status, body) = get(&caller.url("/v1.0/metadata"), &[("dapr-app-id", "callee")]).await;
    assert_eq!((status, target(&body).as_str()), (200, "/v1.0/metadata"));
    let shutdown = caller.url("/v1.0/shutdown");
    assert_eq!(send(reqwest::Method::POST, &shutdown, &[]).await.0, 404);
    assert_eq!(get(&caller.url("/v1.0/healthz"), &[]).await.0, 204);
    let public = format!("http://127.0.0.1:{}", caller.public_port);
    assert_eq!(get(&format!("{public}/v1.0/healthz"), &[]).await.0, 204);
    assert_eq!(
        get(&format!("{public}/v1.0/metadata"), &[]).await,
        (404, "404 page not found\n".to_owned())
    );
    assert_eq!(
        grpc::call(caller.grpc_port, "GetMetadata", &[], &[]).await.code,
        0
    );
    let refused = grpc::invoke(caller.grpc_port, "callee", "m", &[]).await;
    assert_eq!((refused.code, refused.message.as_str()), (12, "Not Implemented"));
}

#[tokio::test]
async fn a_deny_list_of_apis() {
    let lists = "  api:\n    denied:\n    - {name: invoke, version: v1.0, protocol: HTTP}\n    \
                 - {name: shutdown, version: v1, protocol: grpc}\n";
    let pair = Pair::start(lists).await;
    let caller = &pair.caller;
    let nothing = (404, "404 page not found\n".to_owned());
    assert_eq!(pair.get("m").await, nothing);
    assert_eq!(
        get(&caller.url("/m"), &[("dapr-app-id", "callee")]).await,
        nothing
    );
    assert_eq!(get(&caller.url("/v1.0/metadata"), &[]).await.0, 200);
    let metadata = caller.url("/v1.0/metadata");
    assert_eq!(
        send(reqwest::Method::DELETE, &metadata, &[]).await,
        (405, String::new())
    );
    // The list is for one protocol, and for the app's side only.
    let answer = grpc::invoke(caller.grpc_port, "callee", "m", &[]).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    assert_eq!(grpc::call(caller.grpc_port, "Shutdown", &[], &[]).await.code, 12);
}

#[tokio::test]
async fn an_allow_list_that_nobody_knows_allows_nothing() {
    let lists = "  api:\n    allowed:\n    - {name: invoke, version: v1.0, protocol: grpc}\n    \
                 - {name: invoke, version: v1}\n";
    let pair = Pair::start(lists).await;
    let refused = grpc::invoke(pair.caller.grpc_port, "callee", "m", &[]).await;
    assert_eq!(refused.code, 12);
    assert_eq!(pair.get("m").await.0, 200);
    let log = pair.caller.log();
    for wanted in ["names no API", "protocol is neither http nor grpc"] {
        assert!(log.contains(wanted), "{wanted}: {log}");
    }
}

#[tokio::test]
async fn the_token_opens_all_but_health_and_is_told_to_nobody() {
    const TOKEN: &str = "very-secret-token";
    let lists = "  api:\n    denied:\n    - {name: metadata, version: v1, protocol: grpc}\n";
    let pair = Pair::start_with(lists, |sidecar| {
        sidecar.env("DAPR_API_TOKEN", TOKEN).arg("--enable-api-logging")
    })
    .await;
    let caller = &pair.caller;
    let url = caller.invoke_url("callee", "m");
    let refused = (401, "invalid api token\n".to_owned());
    assert_eq!(get(&url, &[]).await, refused);
    assert_eq!(get(&url, &[("dapr-api-token", "other")]).await, refused);
    let (status, echo) = get(&url, &[("dapr-api-token", TOKEN)]).await;
    assert_eq!(status, 200);
    assert!(
        !echo.contains(TOKEN) && !echo.contains("dapr-api-token"),
        "{echo}"
    );

    assert_eq!(get(&caller.url("/v1.0/healthz"), &[]).await.0, 204);
    for path in [
        "/v1.0%2Fhealthz",
        "/v1.0/healthz%2F..%2F..%2Fm",
        "/v1.0/health%7A",
        "/m",
    ] {
        let mut client = RawClient::connect(caller.http_port).await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\ndapr-app-id: callee\r\n\r\n");
        client.send(head).await;
        assert_eq!(client.receive().await.unwrap().status(), 401, "{path}");
    }

    let refused = grpc::invoke(caller.grpc_port, "callee", "m", &[]).await;
    assert_eq!((refused.code, refused.message.as_str()), (16, "Unauthorized"));
    // What is denied is denied before anybody asks for a token.
    assert_eq!(
        grpc::call(caller.grpc_port, "GetMetadata", &[], &[]).await.code,
        12
    );
    let shown = [("dapr-api-token", TOKEN)];
    let answer = grpc::invoke(caller.grpc_port, "callee", "m", &shown).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    let echo = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(echo.contains("/m") && !echo.contains(TOKEN), "{echo}");
    for sidecar in [caller, &pair.callee] {
        assert!(!sidecar.log().contains(TOKEN));
    }
    assert_ne!(pair.app.port, 0);
}
