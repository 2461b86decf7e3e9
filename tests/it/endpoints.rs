//! HTTP endpoints that have a name.

use std::fmt::Write as _;
use std::path::PathBuf;

use integration_tests::pki::Authority;
use integration_tests::{DaprdBuilder, HttpApp, Mesh, Protocol, TlsApp, localhost, text};
use serde_json::Value;

/// A mesh with a folder of resources.
struct Stage {
    mesh: Mesh,
    folder: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let mesh = Mesh::new();
        let folder = mesh.folder().join("resources");
        std::fs::create_dir(&folder).unwrap();
        Self { mesh, folder }
    }

    fn resource(&self, file: &str, text: &str) -> &Self {
        std::fs::write(self.folder.join(file), text).unwrap();
        self
    }

    fn endpoint(&self, name: &str, base: &str, more: &str) -> &Self {
        self.resource(
            &format!("{name}.yaml"),
            &format!(
                "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata:\n  name: {name}\nspec:\n  version: \
                 v1alpha1\n  baseUrl: {base}\n{more}"
            ),
        )
    }

    fn sidecar(&self, app_id: &str) -> DaprdBuilder {
        self.mesh
            .sidecar(app_id)
            .arg(format!("--resources-path={}", self.folder.display()))
    }
}

async fn get(url: String) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// `clientTLS` with these documents, which YAML takes as they are.
fn client_tls(documents: &[(&str, &str)]) -> String {
    let mut text = "  clientTLS:\n".to_owned();
    for (name, pem) in documents {
        let pem = pem.replace('\n', "\n        ");
        writeln!(text, "    {name}:\n      value: |\n        {}", pem.trim_end()).unwrap();
    }
    text
}

#[tokio::test]
async fn headers_come_from_the_resource_the_environment_and_secrets() {
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new();
    let secrets = stage.mesh.folder().join("secrets.json");
    std::fs::write(&secrets, r#"{"outer": {"inner": "from the file"}}"#).unwrap();
    let base = format!("http://127.0.0.1:{}/base", app.port);
    stage
        .resource(
            "store.yaml",
            &format!(
                "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: store\nspec:\n  type: \
                 secretstores.local.file\n  version: v1\n  metadata:\n  - name: secretsFile\n    value: {}\n",
                secrets.display()
            ),
        )
        .endpoint(
            "web",
            &base,
            "  headers:\n  - {name: X-Plain, value: plain}\n  - {name: X-Env, envRef: IT_VALUE}\n  - name: \
             X-Secret\n    secretKeyRef: {name: \"outer:inner\"}\n  - {name: X-Token, envRef: APP_API_TOKEN}\nauth:\n  \
             secretStore: store\n",
        )
        .endpoint("foreign", &base, "scopes: [somebody-else]\n");
    let daprd = stage
        .sidecar("E1-app")
        .app_port(app.port)
        .env("IT_VALUE", "from the environment")
        .env("APP_API_TOKEN", "open sesame")
        .start()
        .await;
    let client = reqwest::Client::new();
    let answer = client
        .post(daprd.invoke_url("web", "m?q=1"))
        .header("x-plain", "caller")
        .body("abc")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let seen: Value = answer.json().await.unwrap();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["target"], "/base/m?q=1");
    assert_eq!(seen["body"], "abc");
    let header = |name: &str| {
        let pairs = seen["headers"].as_array().unwrap();
        let found: Vec<_> = pairs.iter().filter(|pair| pair[0] == name).collect();
        assert!(found.len() < 2, "{found:?}");
        found.first().map(|pair| pair[1].as_str().unwrap())
    };
    assert_eq!(header("x-plain"), Some("plain"));
    assert_eq!(header("x-env"), Some("from the environment"));
    assert_eq!(header("x-secret"), Some("from the file"));
    assert_eq!(
        header("x-token"),
        Some(""),
        "the token of the app is nobody else's"
    );
    assert_eq!(header("dapr-api-token"), None);
    assert_eq!(header("dapr-caller-app-id"), None);
    let (_, metadata) = get(daprd.url("/v1.0/metadata")).await;
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["httpEndpoints"], serde_json::json!([{"name": "web"}]));
    let log = daprd.log();
    for line in [
        "Loading endpoints…",
        "Found http endpoint: web",
        "All outstanding http endpoints processed",
        "HTTPEndpoint web references an env variable that isn't allowed: APP_API_TOKEN",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    assert!(!log.contains("Found http endpoint: foreign"), "{log}");
    assert!(!log.contains("from the file"), "a secret is in the log: {log}");
}

#[tokio::test]
async fn tls_is_verified_and_a_broken_endpoint_fails_alone() {
    let (ours, other, clients) = (Authority::new(), Authority::new(), Authority::new());
    let server = TlsApp::start(&ours, None).await;
    let mutual = TlsApp::start(&ours, Some(&clients)).await;
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "the app") }).await;
    let at = |port: u16| format!("https://localhost:{port}");
    let (ours, other) = (ours.pem(), other.pem());
    let good = localhost(&clients);
    let (chain, key) = (good.pem(), good.key.serialize_pem());
    let stage = Stage::new();
    let plain = at(server.port);
    let mutual = at(mutual.port);
    let address = format!("https://127.0.0.1:{}", server.port);
    stage
        .endpoint("known", &plain, &client_tls(&[("rootCA", &ours)]))
        .endpoint("unknown", &plain, &client_tls(&[("rootCA", &other)]))
        .endpoint("misnamed", &address, &client_tls(&[("rootCA", &ours)]))
        .endpoint(
            "proving",
            &mutual,
            &client_tls(&[("rootca", &ours), ("Certificate", &chain), ("PRIVATEKEY", &key)]),
        )
        .endpoint("silent", &mutual, &client_tls(&[("rootCA", &ours)]))
        .endpoint("no-root", &plain, &client_tls(&[("rootCA", "junk\n")]))
        .endpoint(
            "no-key",
            &plain,
            &client_tls(&[("rootCA", &ours), ("privateKey", "junk\n")]),
        )
        .endpoint("no-address", "nothing", "");
    let daprd = stage.sidecar("E2-app").app_port(app.port).start().await;
    for name in ["known", "proving"] {
        assert_eq!(
            get(daprd.invoke_url(name, "m")).await,
            (200, "hello".to_owned()),
            "{name}"
        );
    }
    for (name, wanted) in [
        ("unknown", "tls: failed to verify certificate: x509: "),
        ("misnamed", "tls: failed to verify certificate: x509: "),
        ("silent", "remote error: tls: certificate required"),
        (
            "no-root",
            "failed to add root cert to cert pool for http endpoint no-root",
        ),
        (
            "no-key",
            "failed to load client certificate for http endpoint no-key: ",
        ),
        ("no-address", "http endpoint no-address: "),
    ] {
        let (status, body) = get(daprd.invoke_url(name, "m")).await;
        assert_eq!(status, 500, "{name}: {body}");
        assert!(
            body.contains("ERR_DIRECT_INVOKE") && body.contains(wanted),
            "{name}: {body}"
        );
    }
    // The app has nothing to do with them.
    assert_eq!(
        get(daprd.invoke_url("E2-app", "m")).await,
        (200, "the app".to_owned())
    );
}

#[tokio::test]
async fn what_the_roots_hold_is_trusted_and_what_will_fail_is_told_at_the_start() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    // As `openssl req -x509` makes it.
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pinned = params.self_signed(&key).unwrap().pem();
    let server = TlsApp::showing(&pinned, &key.serialize_pem()).await;
    let (root, other) = (Authority::new(), Authority::new());
    let below = root.below("below", |_| {});
    let under = TlsApp::start(&below, None).await;
    let stage = Stage::new();
    let at = |port: u16| format!("https://localhost:{port}");
    stage
        .endpoint("pinned", &at(server.port), &client_tls(&[("rootCA", &pinned)]))
        .endpoint(
            "middle",
            &at(under.port),
            &client_tls(&[("rootCA", &below.pem())]),
        )
        .endpoint(
            "unknown",
            &at(server.port),
            &client_tls(&[("rootCA", &other.pem())]),
        )
        .endpoint(
            "absent",
            "https://localhost:1",
            &client_tls(&[("rootCA", &other.pem())]),
        );
    let roots = stage.mesh.folder().join("roots.pem");
    std::fs::write(&roots, &pinned).unwrap();
    let daprd = stage
        .sidecar("E0-app")
        .env("SSL_CERT_FILE", &roots.display().to_string())
        .start()
        .await;
    let hello = (200, "hello".to_owned());
    for target in ["pinned", "middle", &at(server.port)] {
        assert_eq!(get(daprd.invoke_url(target, "m")).await, hello, "{target}");
    }
    let told = "calls will fail as long as this is so: HTTPEndpoint unknown at localhost:";
    daprd.await_log(told).await;
    let log = daprd.log();
    assert!(
        !log.contains("HTTPEndpoint pinned at") && !log.contains("HTTPEndpoint absent at"),
        "{log}"
    );
    let (status, body) = get(daprd.invoke_url("unknown", "m")).await;
    let wanted = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert!(status == 500 && body.contains(wanted), "{body}");
}

#[tokio::test]
async fn an_app_may_show_a_certificate_of_version_1() {
    let (certificate, key) = (include_str!("data/v1.pem"), include_str!("data/v1.key"));
    let app = TlsApp::showing(certificate, key).await;
    let daprd = Mesh::new()
        .sidecar("E00-app")
        .app_port(app.port)
        .arg("--app-protocol=https")
        .start()
        .await;
    assert_eq!(
        get(daprd.invoke_url("E00-app", "m")).await,
        (200, "hello".to_owned())
    );
}

#[tokio::test]
async fn redirects_are_followed_without_the_secrets_of_the_resource() {
    let elsewhere = HttpApp::echo(Protocol::Http).await;
    let to = format!("http://localhost:{}/there", elsewhere.port);
    let app = HttpApp::start(Protocol::Http, move |request| {
        let to = match request.uri().path() {
            "/loop" => "/loop".to_owned(),
            _ => to.clone(),
        };
        async move {
            let mut answer = text(301, "moved");
            answer.headers_mut().insert("location", to.parse().unwrap());
            answer
        }
    })
    .await;
    let stage = Stage::new();
    let base = format!("http://127.0.0.1:{}", app.port);
    stage.endpoint("web", &base, "  headers:\n  - {name: X-Secret, value: secret}\n");
    let daprd = stage.sidecar("E3-app").start().await;
    let answer = reqwest::Client::new()
        .post(daprd.invoke_url("web", "m"))
        .header("cookie", "crumbs")
        .body("abc")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let seen = answer.text().await.unwrap();
    assert!(
        seen.contains("\"method\":\"GET\"") && seen.contains("\"target\":\"/there\""),
        "{seen}"
    );
    assert!(!seen.contains("secret") && !seen.contains("crumbs"), "{seen}");
    let (status, body) = get(daprd.invoke_url("web", "loop")).await;
    assert_eq!(status, 500, "{body}");
    assert!(body.contains("stopped after 10 redirects"), "{body}");
    // An address that the caller names is not followed: it is the caller's to decide.
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let answer = client.get(daprd.invoke_url(&base, "m")).send().await.unwrap();
    assert_eq!(answer.status(), 301);
}

#[tokio::test]
async fn a_name_that_is_given_twice_is_nobodys() {
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "the app") }).await;
    let base = format!("http://127.0.0.1:{}", app.port);
    let stage = Stage::new();
    stage.endpoint("web", &base, "");
    let again = std::fs::read_to_string(stage.folder.join("web.yaml")).unwrap();
    stage.resource("web-again.yaml", &again);
    let daprd = stage.sidecar("E4-app").start().await;
    let wanted = format!(
        "failed to load HTTP endpoints: duplicate definition of HTTPEndpoint name web ({base}) with existing web ({base})"
    );
    assert!(daprd.log().contains(&wanted), "{}", daprd.log());
    let (_, metadata) = get(daprd.url("/v1.0/metadata")).await;
    assert!(!metadata.contains("\"web\""), "{metadata}");
}
