//! mTLS between sidecars, with a certificate authority that speaks sentry's protocol.

mod handshakes;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use integration_tests::pki::{now, set_validity};
use integration_tests::sentry::{Sentry, SignAnswer, SignRequest};
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, eventually};
use serde_json::Value;

/// What this sidecar needs for mTLS.
pub(crate) fn secured(builder: DaprdBuilder, sentry: &Sentry) -> DaprdBuilder {
    builder
        .arg("--enable-mtls")
        .arg(format!("--sentry-address={}", sentry.address))
        .env("DAPR_TRUST_ANCHORS", &sentry.anchors())
}

async fn invoke(from: &Daprd, app_id: &str) -> (u16, String) {
    let answer = reqwest::get(from.invoke_url(app_id, "hello")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn two_sidecars_call_each_other() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    let app = HttpApp::echo(Protocol::Http).await;
    let start = |id: &str| secured(mesh.sidecar(id), &sentry).app_port(app.port).start();
    let (one, two) = (start("M1-one").await, start("M1-two").await);
    for (from, to) in [(&one, "M1-two"), (&two, "M1-one")] {
        let (status, body) = invoke(from, to).await;
        assert_eq!(status, 200, "{body}");
        let seen: Value = serde_json::from_str(&body).unwrap();
        let header = |name: &str| {
            let all = seen["headers"].as_array().unwrap();
            let found: Vec<_> = all
                .iter()
                .filter(|pair| pair[0] == name)
                .map(|pair| pair[1].clone())
                .collect();
            found
        };
        assert_eq!(header("dapr-caller-app-id"), [Value::from(from.app_id.as_str())]);
        assert_eq!(header("dapr-caller-namespace"), [Value::from("default")]);
    }
    let mut asked: Vec<_> = sentry.seen().iter().map(SignRequest::spiffe_id).collect();
    asked.sort();
    assert_eq!(
        asked,
        [
            "spiffe://public/ns/default/M1-one",
            "spiffe://public/ns/default/M1-two"
        ]
    );
    let metrics = format!("http://127.0.0.1:{}/metrics", one.metrics_port);
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("dapr_runtime_mtls_init_total{app_id=\"M1-one\"} 1")
            && metrics.contains("daprd_certificate_expiry_timestamp_seconds{app_id=\"M1-one\"} ")
            && metrics
                .contains("daprd_tls_handshakes_total{app_id=\"M1-one\",result=\"ok\",side=\"client\"} "),
        "{metrics}"
    );
}

/// A caller says who it is, but what it proves is what the app is told.
#[tokio::test]
async fn the_app_is_told_what_the_caller_proved() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    sentry.answer_with(|authority, request| {
        let id = request.spiffe_id().replace("M2-liar", "M2-caught");
        SignAnswer::Chain(authority.certify(&id, &request.public_key(), |_| {}))
    });
    let app = HttpApp::echo(Protocol::Http).await;
    let liar = secured(mesh.sidecar("M2-liar"), &sentry).start().await;
    let _callee = secured(mesh.sidecar("M2-callee"), &sentry)
        .app_port(app.port)
        .start()
        .await;
    let (status, body) = invoke(&liar, "M2-callee").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("M2-caught") && !body.contains("M2-liar"), "{body}");
}

/// The policy is asked about what the connection proved.
#[tokio::test]
async fn a_policy_judges_what_was_proved() {
    let policy = "  accessControl:\n    defaultAction: deny\n    trustDomain: public\n    policies:\n    - appId: M6-friend\n\
                  \x20     namespace: default\n      trustDomain: public\n      defaultAction: allow\n";
    let (sentry, mesh) = (Sentry::start().await, Mesh::with_configuration(policy));
    let app = HttpApp::echo(Protocol::Http).await;
    let start = |id: &str| secured(mesh.sidecar(id), &sentry).app_port(app.port).start();
    let (friend, stranger) = (start("M6-friend").await, start("M6-stranger").await);
    let _callee = start("M6-callee").await;
    assert_eq!(invoke(&friend, "M6-callee").await.0, 200);
    let (status, body) = invoke(&stranger, "M6-callee").await;
    assert_eq!(status, 403, "{body}");
    assert!(
        body.contains("id: spiffe://public/ns/default/M6-stranger operation: "),
        "{body}"
    );
}

#[tokio::test]
async fn a_sidecar_that_proves_another_name_is_not_called() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    sentry.answer_with(|authority, request| {
        let id = match &*request.id {
            "M3-name" => "spiffe://public/ns/default/M3-other".to_owned(),
            "M3-space" => "spiffe://public/ns/other/M3-space".to_owned(),
            "M3-domain" => "spiffe://elsewhere/ns/default/M3-domain".to_owned(),
            _ => request.spiffe_id(),
        };
        SignAnswer::Chain(authority.certify(&id, &request.public_key(), |_| {}))
    });
    let app = HttpApp::echo(Protocol::Http).await;
    let start = |id: &str| secured(mesh.sidecar(id), &sentry).app_port(app.port).start();
    let caller = start("M3-caller").await;
    let (_name, _space, _domain) = (
        start("M3-name").await,
        start("M3-space").await,
        start("M3-domain").await,
    );
    for (id, proved) in [("M3-name", "default/M3-other"), ("M3-space", "other/M3-space")] {
        let (status, body) = invoke(&caller, id).await;
        assert_eq!(status, 500, "{body}");
        let wanted = format!("unexpected SPIFFE ID: \\\"spiffe://public/ns/{proved}\\\"");
        let is_told = body.replace("\\\\\\\"", "\\\"").contains(&wanted);
        assert!(is_told, "{body}");
    }
    // The trust domain is not compared.
    let (status, body) = invoke(&caller, "M3-domain").await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn with_and_without_mtls_do_not_mix() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    let app = HttpApp::echo(Protocol::Http).await;
    let secure = secured(mesh.sidecar("M4-secure"), &sentry)
        .app_port(app.port)
        .start()
        .await;
    let plain = mesh.sidecar("M4-plain").app_port(app.port).start().await;
    for (from, to, wanted) in [
        (
            &secure,
            "M4-plain",
            "transport: authentication handshake failed: tls: first record does not look like a TLS handshake",
        ),
        (&plain, "M4-secure", "error reading server preface: "),
    ] {
        let (status, body) = invoke(from, to).await;
        assert_eq!(status, 500, "{body}");
        assert!(body.contains(wanted), "{body}");
    }
}

/// Certificates live for seconds and are renewed all the time, and connections are let go as soon as they are
/// idle, so that handshakes happen with every certificate: no call fails.
#[tokio::test]
async fn renewal_drops_no_call() {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    sentry.answer_with(|authority, request| {
        SignAnswer::Chain(
            authority.certify(&request.spiffe_id(), &request.public_key(), |params| {
                set_validity(params, now() - 20, now() + 20);
            }),
        )
    });
    let app = HttpApp::echo(Protocol::Http).await;
    let start = |id: &str| {
        secured(mesh.sidecar(id), &sentry)
            .app_port(app.port)
            .env("DAPR_GRPC_MAX_CONN_IDLE", "1ms")
            .env("DAPR_GRPC_CONN_COLLECTOR_INTERVAL", "20ms")
            .start()
    };
    let (one, two) = (start("M5-one").await, start("M5-two").await);
    let (calls, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let mut load = tokio::task::JoinSet::new();
    for url in [
        one.invoke_url("M5-two", "hello"),
        two.invoke_url("M5-one", "hello"),
    ] {
        let (calls, is_over) = (Arc::clone(&calls), Arc::clone(&is_over));
        load.spawn(async move {
            let client = reqwest::Client::new();
            while !is_over.load(Ordering::Relaxed) {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
                // Now and then the connection has the time to be let go.
                if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                }
            }
        });
    }
    eventually("twenty certificates and many calls", || async {
        sentry.seen().len() >= 20 && calls.load(Ordering::Relaxed) > 100 || load.is_empty()
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
}
