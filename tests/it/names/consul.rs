//! Consul: an agent that speaks the protocol of the real one, faults included.

use integration_tests::{
    ConsulAgent, Daprd, HttpApp, Protocol, Request, TlsApp, eventually, free_port, pki, text,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Configured, page};

async fn app(says: &'static str) -> HttpApp {
    HttpApp::start(Protocol::Http, move |_: Request| async move { text(200, says) }).await
}

async fn call(sidecar: &Daprd, id: &str) -> (u16, String) {
    let answer = reqwest::get(sidecar.invoke_url(id, "m")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn await_answer(sidecar: &Daprd, id: &str, wanted: &str) {
    eventually(&format!("{wanted:?} of {id}"), || async {
        call(sidecar, id).await.1.contains(wanted)
    })
    .await;
}

fn registering(agent: &ConsulAgent) -> Configured {
    Configured::by_example(
        page!("consul"),
        &[("127.0.0.1:8500", format!("127.0.0.1:{}", agent.port))],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_register_and_find_each_other() {
    let agent = ConsulAgent::start().await;
    let mesh = registering(&agent);
    let (one, two) = (app("one").await, app("two").await);
    let caller = mesh.sidecar("one").app_port(one.port).start().await;
    assert_eq!(
        call(&caller, "two").await,
        (
            500,
            r#"{"errorCode":"ERR_DIRECT_INVOKE","message":"failed to invoke, id: two, err: no healthy services found with AppID 'two'"}"#
                .to_owned()
        )
    );
    let callee = mesh.sidecar("two").app_port(two.port).start().await;
    assert_eq!(call(&caller, "two").await, (200, "two".to_owned()));
    assert_eq!(call(&callee, "one").await, (200, "one".to_owned()));
    let id = format!("two-127.0.0.1-{}", callee.http_port);
    let service = &agent.services()[&id];
    assert_eq!(
        *service,
        json!({
            "ID": id, "Name": "two", "Port": two.port, "Address": "127.0.0.1",
            "Meta": {"DAPR_PORT": callee.internal_port.to_string()}, "Check": null,
            "Checks": [{
                "CheckID": format!("daprHealth:{id}"), "Name": "Dapr Health Status", "Interval": "15s",
                "HTTP": format!("http://127.0.0.1:{}/v1.0/healthz?appid=two", callee.http_port),
            }],
        })
    );
    assert!(
        caller.log().contains("service:one registered on consul agent"),
        "{}",
        caller.log()
    );
    let exit = callee.stop().await;
    assert_eq!(exit.code, Some(0));
    assert!(
        exit.stdout.contains("deregistered service from consul"),
        "{}",
        exit.stdout
    );
    assert_eq!(agent.services().len(), 1);
    await_answer(&caller, "two", "no healthy services found with AppID 'two'").await;
    // Somebody else of that name is found without delay.
    let _again = mesh.sidecar("two").app_port(two.port).start().await;
    assert_eq!(call(&caller, "two").await, (200, "two".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_trouble_costs_no_call() {
    let agent = ConsulAgent::start().await;
    let mesh = registering(&agent);
    let app = app("there").await;
    let _callee = mesh.sidecar("callee").app_port(app.port).start().await;
    let caller = mesh.sidecar("caller").app_port(app.port).start().await;
    for trouble in [None, Some(500), Some(429), None] {
        agent.set_trouble(trouble);
        for _ in 0..20 {
            assert_eq!(
                call(&caller, "callee").await,
                (200, "there".to_owned()),
                "{trouble:?}"
            );
        }
    }
    agent.set_trouble(Some(500));
    await_answer(
        &caller,
        "other",
        "failed to query healthy consul services: Unexpected response code: 500 (rpc error",
    )
    .await;
    // An agent that begins anew learns of its sidecars again when they look, and its index is lower than before.
    agent.set_trouble(None);
    let requests = agent.requests();
    assert!(
        requests
            .iter()
            .any(|line| line.contains("&index=") && line.contains("&wait=60000ms")),
        "{requests:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_after_its_sidecars_is_told_of_them() {
    let port = free_port();
    let resolver = format!(
        "component: hashicorp.consul\nconfiguration: {{selfRegister: true, client: {{address: \"127.0.0.1:{port}\"}}}}"
    );
    let mesh = Configured::by(&resolver);
    let app = app("there").await;
    let caller = mesh.sidecar("caller").app_port(app.port).start().await;
    let told = "[INIT_COMPONENT_FAILURE]: initialization error occurred for nr (hashicorp.consul/v1): failed to register \
                consul service: Put";
    assert!(caller.log().contains(told), "{}", caller.log());
    assert_eq!(
        call(&caller, "caller").await,
        (200, "there".to_owned()),
        "the app itself is reached"
    );
    let agent = ConsulAgent::start_on(TcpListener::bind(("127.0.0.1", port)).await.unwrap());
    eventually("the registration", || async { agent.services().len() == 1 }).await;
    let _callee = mesh.sidecar("callee").app_port(app.port).start().await;
    await_answer(&caller, "callee", "there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_tls_and_a_name_of_its_own() {
    let agent = ConsulAgent::start().await;
    let authority = pki::Authority::new();
    let front = TlsApp::in_front_of(&authority, agent.port).await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("ca.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let secret = folder.path().join("token");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let resolver = |name: &str| {
        Configured::by(&format!(
            "component: consul\nconfiguration:\n  client:\n    address: https://127.0.0.1:{}\n    tokenFile: {}\n    \
             tlsConfig: {{caFile: {}, address: {name}}}\n  selfRegister: true\n  selfDeregister: true\n  daprPortMetaKey: PORT\n  \
             meta: {{team: a}}\n  tags: [x]",
            front.port,
            secret.display(),
            roots.display()
        ))
    };
    let mesh = resolver("localhost:8501");
    let app = app("there").await;
    let _callee = mesh.sidecar("callee").app_port(app.port).start().await;
    let caller = mesh.sidecar("caller").app_port(app.port).start().await;
    assert_eq!(call(&caller, "callee").await, (200, "there".to_owned()));
    assert!(agent.tokens().iter().all(|token| token == "s3cret") && !agent.tokens().is_empty());
    for service in agent.services().values() {
        assert_eq!(
            (&service["Meta"]["team"], &service["Tags"]),
            (&json!("a"), &json!(["x"]))
        );
        assert!(service["Meta"]["PORT"].is_string());
    }
    let wrong = resolver("elsewhere")
        .sidecar("wrong")
        .app_port(app.port)
        .start()
        .await;
    let told = "tls: failed to verify certificate: x509: certificate is valid for localhost, not elsewhere";
    assert!(wrong.log().contains(told), "{}", wrong.log());
}
