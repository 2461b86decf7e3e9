//! What each component costs a call, without sockets: `cargo run --release -p middleware --example cost`.
//!
//! Each line is the least time of many rounds, since a shared machine can only make a round longer. It has the chain in it that
//! the component stands in, and the answer on its way back; not the making of the request. `cost --quick` makes few rounds.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that shows something to a person"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use invoke_core::Body;
use invoke_core::pipeline::{Entered, Pipeline};
use middleware::{Middleware, Properties, Spec, Store, Wanted, Web};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Calls of a round. Rounds of calls that take long are short, so that some of them are not interrupted.
const CALLS: usize = 500;
const LONG_CALLS: usize = 20;
const PATH: &str = "/v1.0/invoke/shop/method/order?id=7";

const POLICY: &str = r#"package http
default allow = {"allow": false, "status_code": 401}
allow = {"allow": true, "additional_headers": {"X-User": payload.sub}} {
  [_, payload, _] := io.jwt.decode(trim_prefix(input.request.headers.Authorization, "Bearer "))
}"#;

const RULES: [(&str, &str); 3] = [
    (
        "flowRules",
        r#"[{"resource": "GET:/v1.0/invoke/shop/method/order", "threshold": 1e9}]"#,
    ),
    (
        "isolationRules",
        r#"[{"resource": "GET:/v1.0/invoke/shop/method/order", "threshold": 1000000}]"#,
    ),
    (
        "circuitBreakerRules",
        r#"[{"resource": "GET:/v1.0/invoke/shop/method/order", "threshold": 0.5, "maxAllowedRtMs": 1000,
            "statIntervalMs": 1000, "retryTimeoutMs": 1000}]"#,
    ),
];

/// What is measured: a name, and the components of the chain.
type Line = (&'static str, Vec<(&'static str, Vec<(&'static str, String)>)>);

fn lines(url: &str) -> Vec<Line> {
    let text = |items: &[(&'static str, &str)]| {
        items
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let bearer = || {
        let items = [("issuer", "me"), ("audience", "shop"), ("jwksURL", url)];
        ("bearer", text(&items))
    };
    vec![
        ("uppercase", vec![("uppercase", text(&[("direction", "both")]))]),
        (
            "routeralias",
            vec![(
                "routeralias",
                text(&[(
                    "routes",
                    r#"{"/v1.0/invoke/shop/method/{m}": "/v1.0/invoke/a/method/b"}"#,
                )]),
            )],
        ),
        (
            "routerchecker",
            vec![(
                "routerchecker",
                text(&[("rule", r"^/v1.0/invoke/[a-z]+/method/order\?id=[0-9]+$")]),
            )],
        ),
        (
            "ratelimit",
            vec![("ratelimit", text(&[("maxRequestsPerSecond", "1e9")]))],
        ),
        (
            "sentinel, no rule for the path",
            vec![(
                "sentinel",
                text(&[("flowRules", r#"[{"resource": "GET:/", "threshold": 1}]"#)]),
            )],
        ),
        ("sentinel, three rules", vec![("sentinel", text(&RULES))]),
        (
            "sentinel, a rule of the system",
            vec![(
                "sentinel",
                text(&[("systemRules", r#"[{"metricType": 3, "triggerCount": 1e9}]"#)]),
            )],
        ),
        (
            "opa",
            vec![(
                "opa",
                text(&[("rego", POLICY), ("includedHeaders", "Authorization")]),
            )],
        ),
        ("bearer, a token that is remembered", vec![bearer()]),
        ("bearer, a new token of ES256", vec![bearer()]),
        (
            "bearer and rs.claims",
            vec![
                bearer(),
                ("rs.claims", text(&[("headers", r#"{"sub": "X-User"}"#)])),
            ],
        ),
        (
            "rs.headers",
            vec![(
                "rs.headers",
                text(&[
                    ("removeRequestHeaders", "X-Debug"),
                    ("setRequestHeaders", r#"{"X-Tenant": "shop"}"#),
                    ("setResponseHeaders", r#"{"X-Frame-Options": "DENY"}"#),
                ]),
            )],
        ),
        (
            "rs.cors",
            vec![("rs.cors", text(&[("allowedOrigins", "https://*.example.com")]))],
        ),
        (
            "rs.ipfilter",
            vec![("rs.ipfilter", text(&[("allow", "10.0.0.0/8, 127.0.0.0/8")]))],
        ),
        (
            "rs.bodylimit",
            vec![(
                "rs.bodylimit",
                text(&[("maxBodySize", "64Ki"), ("pathFilter", "/method/order$")]),
            )],
        ),
    ]
}

/// Who signs tokens.
struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
        Self { key, random }
    }

    fn keys(&self) -> String {
        let point = self.key.public_key().as_ref();
        let part = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": part(1), "y": part(33)}]}).to_string()
    }

    fn token(&self, number: u64) -> String {
        let claims = json!({"iss": "me", "aud": "shop", "sub": "ann", "exp": 99_999_999_999_u64, "jti": number.to_string()});
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(json!({"alg": "ES256", "kid": "k"})), part(claims));
        let signature = self.key.sign(&self.random, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Answers everybody with a set of keys.
async fn issuer(keys: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len());
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    url
}

async fn chain(components: &[(&'static str, Vec<(&'static str, String)>)]) -> Arc<dyn Pipeline> {
    let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
    let mut store = Store::default();
    for (kind, metadata) in components {
        let items = metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let spec = Spec {
            name: (*kind).to_owned(),
            kind: format!("middleware.http.{kind}"),
            version: "v1".to_owned(),
            properties: Properties::new(items),
        };
        store.put(Middleware::load(spec, &web).await.unwrap());
    }
    let kinds: Vec<String> = components
        .iter()
        .map(|(kind, _)| format!("middleware.http.{kind}"))
        .collect();
    let wanted = components.iter().zip(&kinds).map(|((name, _), kind)| Wanted {
        name,
        kind,
        version: "v1",
    });
    store.pipeline(wanted, |_| {}).unwrap()
}

fn request(token: &str) -> Request<Body> {
    let request = Request::builder()
        .uri(PATH)
        .header("host", "127.0.0.1:3500")
        .header("user-agent", "curl/8")
        .header("origin", "https://shop.example.com")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"));
    request.body(Body::full("hello")).unwrap()
}

/// The time of a call, for calls that all pass.
async fn round(chain: &dyn Pipeline, tokens: impl Iterator<Item = String>) -> Duration {
    let mut requests: Vec<_> = tokens.map(|token| request(&token)).collect();
    let count = requests.len();
    let peer = Some("127.0.0.1:5000".parse().unwrap());
    let mut passed = Vec::with_capacity(count);
    let mut answers: Vec<_> = (0..count).map(|_| Response::new(Body::full("hello"))).collect();
    let begun = Instant::now();
    while let (Some(request), Some(answer)) = (requests.pop(), answers.pop()) {
        match chain.enter(black_box(request), peer).await {
            Entered::Passed(request, leave) => passed.push((request, leave.apply(answer))),
            Entered::Answered(answer) => panic!("{answer:?}"),
        }
    }
    let took = begun.elapsed() / count as u32;
    black_box(passed);
    took
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = if std::env::args().any(|arg| arg == "--quick") {
        1
    } else {
        200
    };
    let signer = Signer::new();
    let url = issuer(signer.keys()).await;
    let one = signer.token(0);
    let mut number = 0;
    for (name, components) in lines(&url) {
        let chain = chain(&components).await;
        let is_new = name.contains("new token");
        let mut least = Duration::MAX;
        let calls = if is_new || name == "opa" {
            LONG_CALLS
        } else {
            CALLS
        };
        for _ in 0..=rounds {
            let tokens = (0..calls).map(|_| {
                number += 1;
                if is_new { signer.token(number) } else { one.clone() }
            });
            least = least.min(round(&*chain, tokens).await);
        }
        println!("{name}: {:.2} µs", least.as_secs_f64() * 1e6);
    }
}
