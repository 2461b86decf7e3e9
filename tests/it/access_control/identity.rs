//! Policies for callers that prove who they are.

use integration_tests::sentry::{Sentry, SignAnswer};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, RawClient, eventually};

use super::{get, grpc, target};
use crate::mtls::secured;

const POLICIES: &str = "  accessControl:
    defaultAction: deny
    policies:
    - appId: friend
      namespace: default
      trustDomain: public
      defaultAction: allow
      operations:
      - {name: /admin/**, httpVerb: ['*'], action: deny}
      - {name: /orders/*, httpVerb: [GET], action: allow}
      - {name: /orders/*/items, httpVerb: ['*'], action: deny}
      - {name: /read, httpVerb: [POST], action: deny}
    - appId: guest
      namespace: default
      trustDomain: public
      defaultAction: deny
      operations:
      - {name: /public, httpVerb: [GET], action: allow}
    - appId: moved
      namespace: elsewhere
      trustDomain: public
      defaultAction: allow
";

/// A callee with policies, and callers with mTLS.
struct Stage {
    mesh: Mesh,
    sentry: Sentry,
    _app: HttpApp,
    callee: Daprd,
}

impl Stage {
    async fn start() -> Self {
        let (mesh, sentry) = (Mesh::with_configuration(POLICIES), Sentry::start().await);
        let app = HttpApp::echo(Protocol::Http).await;
        let callee = secured(mesh.sidecar("callee"), &sentry).app_port(app.port);
        Self {
            callee: callee.start().await,
            mesh,
            sentry,
            _app: app,
        }
    }

    async fn caller(&self, app_id: &str) -> Daprd {
        secured(self.mesh.sidecar(app_id), &self.sentry).start().await
    }
}

#[tokio::test]
async fn callers_get_what_their_policy_gives() {
    let stage = Stage::start().await;
    let friend = stage.caller("friend").await;
    for (path, wanted) in [
        ("m", 200),
        ("orders/7", 200),
        ("admin", 403),
        ("admin/x", 403),
        ("ADMIN/x", 403),
        ("read", 200),
    ] {
        assert_eq!(
            get(&friend.invoke_url("callee", path), &[]).await.0,
            wanted,
            "{path}"
        );
    }
    // Exactly as they are written: a client that knows URLs would clean them.
    for (path, wanted) in [
        ("public/../admin/x", 403),
        ("public%2F..%2Fadmin%2Fx", 403),
        ("%61dmin/x", 403),
        ("admin%2Fx", 403),
        ("admin%252Fx", 403),
        ("%2561dmin", 403),
        ("./admin", 403),
        ("admin%00", 500),
        ("admin%23x", 500),
        ("admin;x", 200),
        ("administration", 200),
    ] {
        let mut client = RawClient::connect(friend.http_port).await;
        let head = format!("GET /v1.0/invoke/callee/method/{path} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.send(head).await;
        assert_eq!(client.receive().await.unwrap().status(), wanted, "{path}");
    }
    let url = friend.invoke_url("callee", "read");
    assert_eq!(super::send(reqwest::Method::POST, &url, &[]).await.0, 403);
    for (method, wanted) in [("m", 0), ("admin%2Fx", 13), ("/admin", 13), ("x/../admin", 13)] {
        let answer = grpc::invoke(friend.grpc_port, "callee", method, &[]).await;
        assert_eq!(answer.code, wanted, "{method}: {}", answer.message);
    }

    let guest = stage.caller("guest").await;
    let (status, echo) = get(&guest.invoke_url("callee", "public/a"), &[]).await;
    assert_eq!((status, target(&echo).as_str()), (200, "/public/a"));
    let (status, body) = get(&guest.invoke_url("callee", "m"), &[]).await;
    assert_eq!(status, 403);
    assert!(
        body.contains("denied access to id: spiffe://public/ns/default/guest operation: m verb: GET"),
        "{body}"
    );
    let url = format!("http://127.0.0.1:{}/metrics", stage.callee.metrics_port);
    let labels = "app_id=\"guest\",namespace=\"default\",trustDomain=\"public\"";
    eventually("the calls of the guest", || async {
        let metrics = get(&url, &[]).await.1;
        ["allowed", "blocked"].iter().all(|decided| {
            metrics.contains(&format!(
                "dapr_runtime_acl_app_policy_action_{decided}_total{{{labels}}} 1\n"
            ))
        })
    })
    .await;
}

#[tokio::test]
async fn a_policy_is_for_one_namespace_and_one_trust_domain() {
    let stage = Stage::start().await;
    stage.sentry.answer_with(|authority, request| {
        let id = match &*request.id {
            "far" => "spiffe://elsewhere/ns/default/friend".to_owned(),
            "odd" => "spiffe://public/sa/friend".to_owned(),
            "more" => "spiffe://public/ns/default/friend/replica-1".to_owned(),
            _ => request.spiffe_id(),
        };
        SignAnswer::Chain(authority.certify(&id, &request.public_key(), |_| {}))
    });
    for (app_id, wanted) in [("moved", 403), ("stranger", 403), ("far", 403), ("more", 200)] {
        let caller = stage.caller(app_id).await;
        let (status, body) = get(&caller.invoke_url("callee", "m"), &[]).await;
        assert_eq!(status, wanted, "{app_id}: {body}");
    }
    let odd = stage.caller("odd").await;
    let (status, body) = get(&odd.invoke_url("callee", "m"), &[]).await;
    assert_eq!(status, 403);
    let wanted = "code = PermissionDenied desc = malformed SPIFFE ID: spiffe://public/sa/friend";
    assert!(body.contains(wanted), "{body}");
}
