use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use invoke_core::Body;
use lifecycle::Tasks;
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use transport::client::Proxies;

use super::*;

/// An issuer whose keys can be changed.
#[derive(Clone)]
struct Server {
    port: u16,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            answer: Arc::default(),
            asked: Arc::default(),
        };
        server.say("200 OK", body);
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                serving.asked.fetch_add(1, Ordering::Relaxed);
                let answer = serving.answer.lock().unwrap().clone();
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        server
    }

    fn say(&self, status: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    }
}

fn set(names: &[&str]) -> String {
    let key = |name: &&str| json!({"kty": "oct", "kid": name, "k": URL_SAFE_NO_PAD.encode(name.as_bytes())});
    json!({"keys": names.iter().map(key).collect::<Value>()}).to_string()
}

/// A token that is signed with the key of a name.
fn signed(key: &str, head: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(head), part(claims));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
        message.as_bytes(),
    );
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn token(key: &str) -> String {
    let claims = json!({"iss": "https://issuer", "aud": "me", "exp": 99_999_999_999_i64});
    signed(key, &json!({"alg": "HS256", "kid": key}), &claims)
}

async fn bearer(server: &Server, ages: Ages) -> Bearer {
    let metadata = [
        ("issuer", "https://issuer".to_owned()),
        ("clientID", "me".to_owned()),
        ("jwksurl", format!("http://127.0.0.1:{}/keys", server.port)),
    ];
    let properties = Properties::new(metadata.map(|(name, value)| (name.to_owned(), value)));
    let web = Web::new(Proxies::default(), Tasks::new());
    Bearer::with(&properties, &web, ages).await.unwrap()
}

fn admits(bearer: &Bearer, token: &str) -> bool {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let mut call = Call {
        request: request.body(Body::empty()).unwrap(),
        peer: None,
    };
    bearer.handle(&mut call).is_ok()
}

async fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come true");
}

#[tokio::test]
async fn a_new_key_is_found_and_the_old_one_goes() {
    let server = Server::start(&set(&["first"])).await;
    let ages = Ages {
        young: Duration::ZERO,
        ..AGES
    };
    let bearer = bearer(&server, ages).await;
    assert!(admits(&bearer, &token("first")));
    assert!(!admits(&bearer, &token("second")));
    server.say("200 OK", &set(&["second"]));
    eventually(|| admits(&bearer, &token("second"))).await;
    assert!(!admits(&bearer, &token("first")), "what it verified is forgotten");
}

#[tokio::test]
async fn old_keys_are_read_again_and_stay_while_the_issuer_is_down() {
    let server = Server::start(&set(&["first"])).await;
    let ages = Ages {
        old: Duration::ZERO,
        young: Duration::ZERO,
    };
    let bearer = bearer(&server, ages).await;
    for (status, body) in [
        ("503 Service Unavailable", ""),
        ("200 OK", "nonsense"),
        ("200 OK", "{}"),
    ] {
        server.say(status, body);
        let asked = server.asked.load(Ordering::Relaxed);
        eventually(|| {
            assert!(admits(&bearer, &token("first")));
            server.asked.load(Ordering::Relaxed) > asked + 1
        })
        .await;
    }
    server.say("200 OK", &set(&["second"]));
    eventually(|| !admits(&bearer, &token("first"))).await;
}

#[tokio::test]
async fn tokens_do_not_make_the_issuer_be_asked_without_end() {
    let server = Server::start(&set(&["first"])).await;
    let bearer = bearer(&server, AGES).await;
    for name in 0..1000 {
        assert!(!admits(&bearer, &token(&format!("k{name}"))));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.asked.load(Ordering::Relaxed), 1, "when it was set up");
}

#[tokio::test]
async fn what_is_wrong_with_tokens() {
    let server = Server::start(&set(&["first"])).await;
    let bearer = bearer(&server, AGES).await;
    let head = json!({"alg": "HS256", "kid": "first"});
    let claims = |changes: Value| {
        let mut claims = json!({"iss": "https://issuer", "aud": "me", "exp": 99_999_999_999_i64});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (changes, wanted) in [
        (json!({}), true),
        (json!({"exp": now - 290}), true),
        (json!({"exp": now - 310}), false),
        (json!({"nbf": now + 290}), true),
        (json!({"nbf": now + 310}), false),
        (json!({"iat": now + 290}), true),
        (json!({"iat": now + 310}), false),
        (json!({"exp": 0}), false),
        (json!({"exp": "99999999999"}), true),
        (json!({"exp": "soon"}), false),
        (json!({"exp": 1e300}), false),
        (json!({"exp": true}), false),
        (json!({"aud": ["you", "me"]}), true),
        (json!({"aud": ["me", 7]}), false),
        (json!({"aud": "ME"}), false),
        (json!({"iss": "https://issuer/"}), false),
        (json!({"sub": 7}), false),
        (json!({"more": "x".repeat(60_000)}), false),
    ] {
        let token = signed("first", &head, &claims(changes.clone()));
        // The second time it is known.
        for _ in 0..2 {
            assert_eq!(admits(&bearer, &token), wanted, "{changes}");
        }
    }
    for head in [
        json!({"alg": "none", "kid": "first"}),
        json!({"alg": "HS384", "kid": "first"}),
        json!({"alg": "RS256", "kid": "first"}),
        json!({"alg": "HS256", "kid": "other"}),
        json!({"alg": "HS256"}),
        json!({"alg": 7, "kid": "first"}),
        json!({"alg": "HS256", "kid": "first", "crit": ["exp"], "exp": 1}),
    ] {
        assert!(
            !admits(&bearer, &signed("first", &head, &claims(json!({})))),
            "{head}"
        );
    }
    let good = token("first");
    let (message, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        format!("{message}."),
        format!("{message}.{signature}="),
        format!("{message}.{}", &signature[1..]),
        format!("{good}.x"),
        message.to_owned(),
        ".".repeat(20),
        "x".repeat(100),
    ] {
        assert!(!admits(&bearer, &bad), "{bad}");
    }
}
