//! Middleware: whatever metadata and paths say, components load or say why not, and requests stay requests.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use std::time::{Duration, Instant};

use bolero::check;
use fuzz::{Near, sentence};
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use invoke_core::{Body, Entered};
use lifecycle::Tasks;
use middleware::{Middleware, Properties, Spec, Store, Wanted, Web};
use transport::client::Proxies;

const PATTERNS: [&str; 32] = [
    "/",
    "a",
    "é",
    "{",
    "}",
    "{id}",
    "{n:[0-9]+}",
    ":",
    "(",
    ")",
    "(?:",
    "(?i)",
    "[",
    "]",
    "[^",
    "[:alpha:]",
    "\\",
    "\\d",
    "\\Q",
    "\\E",
    "\\b",
    "\\x",
    "*",
    "+",
    "?",
    "{2}",
    "{1000}",
    "|",
    "^",
    "$",
    ".",
    "%2F",
];

/// Loads a component and sends a request through it; what comes out on the other side.
async fn through(kind: &str, name: &str, value: &str, request: Request<Body>) -> Option<Entered> {
    let kind = format!("middleware.http.{kind}");
    let spec = Spec {
        name: "a".to_owned(),
        kind: kind.clone(),
        version: String::new(),
        properties: Properties::new([(name.to_owned(), value.to_owned())]),
    };
    let web = Web::new(Proxies::default(), Tasks::new());
    let mut store = Store::default();
    store.put(Middleware::load(spec, &web).await.ok()?);
    let wanted = Wanted {
        name: "a",
        kind: &kind,
        version: "",
    };
    let pipeline = store.pipeline([wanted], |_| ())?;
    Some(pipeline.enter(request, None).await)
}

fn request(path: &str) -> Option<Request<Body>> {
    Request::builder().uri(path).body(Body::full("hello")).ok()
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn patterns_and_paths() {
    check!()
        .with_type::<(Vec<u8>, Vec<u8>, u8)>()
        .for_each(|(pattern, path, which)| {
            let pattern = sentence(&PATTERNS, &pattern[..pattern.len().min(24)]);
            let path = format!(
                "/{}",
                sentence(&["a", "/", "%20", "1", "?", "x=1", "&", "%C3"], path)
            );
            let Some(request) = request(&path) else { return };
            let begun = Instant::now();
            let entered = now(async {
                match which % 3 {
                    0 => through("routerchecker", "rule", &pattern, request).await,
                    1 => through("routeralias", &format!("/{pattern}"), "/b", request).await,
                    _ => {
                        through(
                            "routeralias",
                            "routes",
                            &format!("{{\"/{pattern}\": \"/b\"}}"),
                            request,
                        )
                        .await
                    }
                }
            });
            assert!(begun.elapsed() < Duration::from_secs(10), "{pattern}");
            if let Some(Entered::Passed(request, _)) = entered {
                assert!(request.uri().path().starts_with('/'), "{}", request.uri());
            }
        });
}

#[test]
fn routes() {
    const SEEDS: [&str; 3] = [
        r#"{"/a": "/b", "/u/{id}": "/c"}"#,
        "/a: /b\n/u/{id}: /c\n",
        "a: &x [1]\nb: *x\n",
    ];
    check!().with_type::<Near>().for_each(|near| {
        let routes = near.to_bytes(&SEEDS, &PATTERNS);
        let routes = String::from_utf8_lossy(&routes);
        now(through(
            "routeralias",
            "routes",
            &routes,
            request("/u/7").unwrap(),
        ));
    });
}

#[test]
fn clients() {
    check!()
        .with_type::<(Vec<u8>, Vec<u8>)>()
        .for_each(|(rate, forwarded)| {
            let mut request = request("/a").unwrap();
            if let Ok(value) = HeaderValue::from_bytes(forwarded) {
                request.headers_mut().insert("x-forwarded-for", value);
            }
            let rate = sentence(&["0", "1", "9", "e", "-", "_", ".", "inf", "NaN", "x"], rate);
            now(through("ratelimit", "maxRequestsPerSecond", &rate, request));
        });
}

#[test]
fn capitals_are_text() {
    check!().with_type::<Vec<u8>>().for_each(|bytes| {
        let request = Request::new(Body::full(bytes.clone()));
        let entered = now(through("uppercase", "direction", "request", request));
        let Some(Entered::Passed(request, _)) = entered else {
            panic!("a body was refused");
        };
        let body = now(request.into_body().collect()).unwrap().to_bytes();
        let upper = std::str::from_utf8(&body).unwrap();
        assert!(!upper.bytes().any(|byte| byte.is_ascii_lowercase()));
    });
}
