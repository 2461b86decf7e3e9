//! The two pipelines: what goes through them, and what does not.

use bytes::Bytes;
use integration_tests::{HttpApp, Mesh, Protocol, RawClient, stream, text};
use reqwest::Client;
use serde_json::json;

use super::{Stage, pipelines, started};
use crate::stage::{chunk, soon};

async fn post(url: String, body: &str) -> (u16, String) {
    let answer = Client::new()
        .post(url)
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn field(echo: &str, field: &str) -> String {
    let echo: serde_json::Value = serde_json::from_str(echo).unwrap();
    echo[field].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_pipeline_of_the_app_is_that_of_its_own_sidecar() {
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(&[], &[("alias", "routeralias"), ("upper", "uppercase")]);
    stage.middleware("upper", "uppercase", &[]).middleware(
        "alias",
        "routeralias",
        &[("routes", r#"{"/old/{id}": "/new"}"#)],
    );
    let callee = stage.sidecar("callee").app_port(app.port).start().await;
    // Another configuration with the same names.
    let plain = stage.mesh.folder().join("plain.yaml");
    let text = std::fs::read_to_string(stage.mesh.folder().join("config.yaml")).unwrap();
    let before = text.split("  appHttpPipeline").next().unwrap();
    std::fs::write(&plain, before).unwrap();
    let caller = integration_tests::DaprdBuilder::new("caller")
        .arg(format!("--config={}", plain.display()))
        .start()
        .await;
    for sidecar in [&caller, &callee] {
        let (status, echo) = post(sidecar.invoke_url("callee", "old/7?x=1"), "hello").await;
        assert_eq!(status, 200, "{echo}");
        assert_eq!(field(&echo, "target"), "/new?id=7&x=1");
        assert_eq!(field(&echo, "body"), "HELLO");
    }
}

#[tokio::test]
async fn endpoints_and_urls_have_the_pipeline_of_the_app() {
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(&[], &[("upper", "uppercase")]);
    stage.middleware("upper", "uppercase", &[]);
    let url = format!("http://127.0.0.1:{}", app.port);
    let endpoint = format!(
        "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata: {{name: web}}\nspec: {{baseUrl: '{url}'}}\n"
    );
    std::fs::write(stage.mesh.folder().join("resources/web.yaml"), endpoint).unwrap();
    let sidecar = stage.sidecar("me").start().await;
    for target in ["web", &url] {
        let (status, echo) = post(sidecar.invoke_url(target, "a"), "hello").await;
        assert_eq!(status, 200, "{echo}");
        assert_eq!(
            (field(&echo, "target"), field(&echo, "body")),
            ("/a".to_owned(), "HELLO".to_owned())
        );
    }
}

#[tokio::test]
async fn streams_pass_through_as_they_come() {
    let (sender, received) = tokio::sync::mpsc::channel::<Bytes>(8);
    let app = HttpApp::start(Protocol::Http, move |request| {
        let sender = sender.clone();
        async move {
            let (mut out, answer) = stream(200);
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
                    let Ok(data) = frame.into_data() else { continue };
                    sender.send(data.clone()).await.unwrap();
                    out.send_data(data).await.unwrap();
                }
            });
            answer
        }
    })
    .await;
    let mut received = received;
    let names = [
        ("up", "uppercase"),
        ("check", "routerchecker"),
        ("limit", "ratelimit"),
    ];
    let stage = Stage::new(&names, &names);
    stage
        .middleware("up", "uppercase", &[("direction", "both")])
        .middleware("check", "routerchecker", &[("rule", "/a$")])
        .middleware("limit", "ratelimit", &[]);
    let sidecar = started(stage.sidecar("me").app_port(app.port)).await;
    let mut client = RawClient::connect(sidecar.http_port).await;
    client
        .send("POST /v1.0/invoke/me/method/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for (index, piece) in ["one", "two", "three"].into_iter().enumerate() {
        client.send(chunk(piece.as_bytes())).await;
        let upper = piece.to_uppercase();
        // The app has it, and the caller its answer, while the request goes on.
        assert_eq!(soon("a piece at the app", received.recv()).await.unwrap(), upper);
        if index == 0 {
            let head = soon("the head", client.receive_head()).await.unwrap();
            assert_eq!(head.status(), 200);
        }
        let back = soon("a piece of the answer", client.receive_chunk())
            .await
            .unwrap();
        assert_eq!(back, upper.as_bytes());
    }
}

#[tokio::test]
async fn a_body_that_breaks_does_not_look_whole() {
    let app = HttpApp::start(Protocol::Http, |_| async {
        let (mut out, answer) = stream(200);
        tokio::spawn(async move {
            out.send_data("half".into()).await.unwrap();
            // Until the head and the piece are out.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            out.abort(std::io::Error::other("broken"));
        });
        answer
    })
    .await;
    let names = [("up", "uppercase")];
    let stage = Stage::new(&names, &names);
    stage.middleware("up", "uppercase", &[("direction", "both")]);
    let sidecar = started(stage.sidecar("me").app_port(app.port)).await;
    let answer = Client::new()
        .get(sidecar.invoke_url("me", "a"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn what_a_pipeline_names_and_is_not_there_is_left_out_and_told() {
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(
        &[("nobody", "uppercase"), ("up", "routerchecker")],
        &[("nobody", "uppercase")],
    );
    stage.middleware("up", "uppercase", &[]);
    let sidecar = started(stage.sidecar("me").app_port(app.port)).await;
    let (status, echo) = post(sidecar.invoke_url("me", "a"), "hello").await;
    assert_eq!((status, field(&echo, "body").as_str()), (200, "hello"));
    for told in ["httpPipeline names", "appHttpPipeline names"] {
        sidecar.await_log(told).await;
    }
}

#[tokio::test]
async fn metadata_shows_the_components_and_not_their_secrets() {
    let stage = Stage::new(&[("limit", "ratelimit")], &[]);
    let secrets = stage.mesh.folder().join("secrets.json");
    std::fs::write(&secrets, r#"{"rate": "0.001"}"#).unwrap();
    let folder = stage.mesh.folder().join("resources");
    std::fs::create_dir_all(&folder).unwrap();
    let store = format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: store}}\nspec:\n  type: \
         secretstores.local.file\n  version: v1\n  metadata:\n  - {{name: secretsFile, value: '{}'}}\n",
        secrets.display()
    );
    std::fs::write(folder.join("store.yaml"), store).unwrap();
    let limit = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: limit}\nspec:\n  type: \
                 middleware.http.ratelimit\n  version: v1\n  metadata:\n  - name: maxRequestsPerSecond\n    secretKeyRef: \
                 {name: rate, key: rate}\nauth: {secretStore: store}\n";
    std::fs::write(folder.join("limit.yaml"), limit).unwrap();
    let sidecar = started(stage.sidecar("me")).await;
    let metadata = sidecar.url("/v1.0/metadata");
    let answer = reqwest::get(&metadata).await.unwrap();
    assert_eq!(answer.headers()["x-rate-limit-limit"], "0.00");
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("middleware.http.ratelimit") && !text.contains("0.001"),
        "{text}"
    );
    assert_eq!(reqwest::get(&metadata).await.unwrap().status(), 429);
}

#[tokio::test]
async fn many_clients_have_a_limit_each_in_bounded_memory() {
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "") }).await;
    let stage = Stage::new(&[("limit", "ratelimit")], &[]);
    stage.middleware("limit", "ratelimit", &[("maxRequestsPerSecond", "0.001")]);
    let sidecar = started(stage.sidecar("me").app_port(app.port)).await;
    let mut client = RawClient::connect(sidecar.http_port).await;
    for (round, wanted) in [(0, 200), (1, 429)] {
        for number in 0..10_000_u32 {
            let head = format!(
                "GET /v1.0/invoke/me/method/a HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 10.{}.{}.{}\r\n\r\n",
                number >> 16,
                (number >> 8) & 255,
                number & 255
            );
            // Every tenth is enough to see that each has its own, and the first time all have to come.
            if round == 1 && number % 10 != 0 {
                continue;
            }
            client.send(head).await;
            let answer = client.receive().await.unwrap();
            assert_eq!(answer.status(), wanted, "{number}");
        }
    }
    // Of a process that has 100,000 series or so this would be far more.
    assert!(
        sidecar.resident_bytes() < 128 << 20,
        "{}",
        sidecar.resident_bytes()
    );
}

#[tokio::test]
async fn a_grpc_app_has_no_pipeline() {
    let mesh = Mesh::with_configuration(&pipelines(
        &serde_json::Value::Null,
        &serde_json::json!([{"name": "check", "type": "middleware.http.routerchecker"}]),
    ));
    let stage = Stage { mesh };
    stage.middleware("check", "routerchecker", &[("rule", "^nothing$")]);
    let app = integration_tests::grpc::GrpcApp::echo().await;
    let sidecar = stage
        .sidecar("me")
        .app_port(app.port)
        .arg("--app-protocol=grpc")
        .start()
        .await;
    let (status, _) = post(sidecar.invoke_url("me", "a"), "hello").await;
    assert_eq!(status, 200);
}

/// The blocks of YAML on the page of the documentation.
pub(super) fn blocks_of_the_page() -> Vec<&'static str> {
    let page = include_str!("../../../docs/src/middleware.md");
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[tokio::test]
async fn the_example_of_the_documentation_does_what_it_says() {
    let app = HttpApp::echo(Protocol::Http).await;
    let (configurations, components): (Vec<_>, Vec<_>) = blocks_of_the_page()
        .into_iter()
        .partition(|block| block.contains("kind: Configuration"));
    assert_eq!((configurations.len(), components.len()), (1, 15));
    let spec = configurations[0].split_once("spec:\n").unwrap().1;
    let stage = Stage {
        mesh: Mesh::with_configuration(spec),
    };
    let folder = stage.mesh.folder().join("resources");
    std::fs::create_dir(&folder).unwrap();
    let secrets = stage.mesh.folder().join("secrets.json");
    std::fs::write(&secrets, r#"{"oauth-secret": "hidden"}"#).unwrap();
    let store = json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "secrets"},
        "spec": {
            "type": "secretstores.local.file",
            "version": "v1",
            "metadata": [{"name": "secretsFile", "value": secrets.to_str().unwrap()}],
        },
    });
    std::fs::write(folder.join("secrets.yaml"), store.to_string()).unwrap();
    // The issuer of the example is not there to be asked; tokens have tests of their own, and so have guests.
    let components = components
        .iter()
        .filter(|component| !component.contains("http.bearer") && !component.contains("http.wasm"));
    for (index, component) in components.enumerate() {
        std::fs::write(folder.join(format!("{index}.yaml")), component).unwrap();
    }
    let sidecar = started(stage.sidecar("shop").app_port(app.port)).await;
    let (status, echo) = post(sidecar.url("/orders/7"), "hello").await;
    assert_eq!(status, 200, "{echo}");
    assert_eq!(field(&echo, "target"), "/order?id=7");
    assert_eq!(field(&echo, "body"), "HELLO");
    let (status, text) = post(sidecar.invoke_url("shop", "others"), "hello").await;
    assert_eq!((status, text.as_str()), (400, "invalid router"));
    let answer = reqwest::get(sidecar.url("/v1.0/healthz")).await.unwrap();
    assert_eq!(answer.headers()["ratelimit-limit"], "50");
}
