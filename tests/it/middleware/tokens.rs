//! Tokens of an issuer that is reached over TLS, and what an app sees of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration_tests::pki::Authority;
use integration_tests::{Daprd, HttpApp, Protocol, TlsApp, eventually, text};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};

use super::{Stage, started};

/// Who signs tokens: a document, a set of keys, and the certificate of an authority of its own.
struct Issuer {
    url: String,
    key: KeyPair,
    authority: Authority,
    /// What the set of keys is answered with.
    status: Arc<AtomicU16>,
    _server: HttpApp,
    _tls: TlsApp,
}

impl Issuer {
    async fn start() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.der_bytes());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string();
        let status = Arc::new(AtomicU16::new(200));
        let says = Arc::clone(&status);
        let server = HttpApp::start(Protocol::Http, move |request| {
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            let answer = match request.uri().path() {
                "/keys" => text(says.load(Ordering::Relaxed), keys.clone()),
                "/.well-known/openid-configuration" => {
                    let url = format!("https://{host}");
                    text(
                        200,
                        json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string(),
                    )
                }
                _ => text(404, ""),
            };
            async { answer }
        })
        .await;
        let authority = Authority::new();
        let tls = TlsApp::in_front_of(&authority, server.port).await;
        Self {
            url: format!("https://localhost:{}", tls.port),
            key,
            authority,
            status,
            _server: server,
            _tls: tls,
        }
    }

    fn token(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        claims["iss"] = self.url.clone().into();
        claims["aud"] = "shop".into();
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": "k"})), part(claims));
        let signature = self.key.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The authority in a file, where a sidecar finds it.
    fn roots(&self, stage: &Stage) -> String {
        let file = stage.mesh.folder().join("roots.pem");
        std::fs::write(&file, self.authority.pem()).unwrap();
        file.display().to_string()
    }
}

async fn get(sidecar: &Daprd, token: &str) -> (u16, String) {
    let request = reqwest::Client::new()
        .get(sidecar.invoke_url("me", "m"))
        .header("authorization", format!("Bearer {token}"))
        .header("x-user", "forged");
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The headers of a name that the app saw.
fn seen<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = echo["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0] == name);
    named.map(|header| header[1].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_over_tls_says_who_calls() {
    let issuer = Issuer::start().await;
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(&[("tokens", "bearer"), ("who", "rs.claims")], &[]);
    let roots = issuer.roots(&stage);
    stage
        .middleware(
            "tokens",
            "bearer",
            &[("issuer", &issuer.url), ("audience", "shop")],
        )
        .middleware(
            "who",
            "rs.claims",
            &[("headers", r#"{"sub": "X-User", "realm.roles": "X-Roles"}"#)],
        );
    let sidecar = stage
        .sidecar("me")
        .app_port(app.port)
        .env("SSL_CERT_FILE", &roots);
    let sidecar = started(sidecar).await;
    let token = issuer.token(&json!({"sub": "ann", "realm": {"roles": ["buyer", "admin"]}}));
    let (status, echo) = get(&sidecar, &token).await;
    assert_eq!(status, 200, "{echo}");
    let echo: Value = serde_json::from_str(&echo).unwrap();
    assert_eq!(seen(&echo, "x-user"), ["ann"]);
    assert_eq!(seen(&echo, "x-roles"), ["buyer,admin"]);
    let (status, echo) = get(&sidecar, &issuer.token(&json!({}))).await;
    let echo: Value = serde_json::from_str(&echo).unwrap();
    assert_eq!((status, seen(&echo, "x-user").len()), (200, 0), "{echo}");
    let changed = token.replacen('.', ".A", 1);
    assert_eq!(get(&sidecar, &changed).await, (401, "Unauthorized".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_whom_nobody_vouches_for_is_not_asked() {
    let issuer = Issuer::start().await;
    let stage = Stage::new(&[("tokens", "bearer")], &[]);
    let other = stage.mesh.folder().join("other.pem");
    std::fs::write(&other, Authority::new().pem()).unwrap();
    stage.middleware(
        "tokens",
        "bearer",
        &[("issuer", &issuer.url), ("audience", "shop")],
    );
    let sidecar = stage
        .sidecar("me")
        .env("SSL_CERT_FILE", &other.display().to_string());
    let exit = sidecar.without_waiting().start().await.exit().await;
    assert_eq!(exit.code, Some(1));
    for wanted in [
        "failed to retrieve OpenID Configuration document: failed to execute request",
        "x509: certificate signed by unknown authority",
    ] {
        assert!(exit.stdout.contains(wanted), "{}", exit.stdout);
    }
}

/// A component that comes while the sidecar runs is looked at twice: an issuer that is away for a moment ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_keys_that_cannot_be_had_at_a_reload() {
    for comes_back in [true, false] {
        let issuer = Issuer::start().await;
        let app = HttpApp::echo(Protocol::Http).await;
        let stage = Stage::new(&[("tokens", "bearer")], &[]);
        let roots = issuer.roots(&stage);
        let sidecar = stage
            .sidecar("me")
            .app_port(app.port)
            .env("SSL_CERT_FILE", &roots);
        let sidecar = sidecar.start().await;
        sidecar.await_log("Starting to watch Resiliency updates").await;
        assert_eq!(
            get(&sidecar, "none").await.0,
            200,
            "what a pipeline names and is not there is left out"
        );
        issuer.status.store(503, Ordering::Relaxed);
        stage.middleware(
            "tokens",
            "bearer",
            &[("issuer", &issuer.url), ("audience", "shop")],
        );
        sidecar.await_log("failed to fetch JWKS").await;
        if !comes_back {
            let exit = sidecar.exit().await;
            assert_eq!(exit.code, Some(1), "as in Dapr");
            continue;
        }
        issuer.status.store(200, Ordering::Relaxed);
        eventually("the component is in the way", || async {
            get(&sidecar, "none").await.0 == 401
        })
        .await;
        assert_eq!(get(&sidecar, &issuer.token(&json!({}))).await.0, 200);
        // It is there, and does not need its issuer for what it knows.
        issuer.status.store(503, Ordering::Relaxed);
        assert_eq!(get(&sidecar, &issuer.token(&json!({"jti": "2"}))).await.0, 200);
    }
}
