//! Calls to endpoints that are real sockets.

use std::sync::Mutex;

use http_body_util::BodyExt;
use invoke_core::{Invocation, MethodPath, Origin, Verb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use http::HeaderValue;

/// A server that answers each request by what its path says and notes what it got.
struct Server {
    base: String,
    seen: Arc<Mutex<Vec<String>>>,
}

/// `answer` makes the whole answer of a request head.
async fn server(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let (noted, answer) = (Arc::clone(&seen), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut read = Vec::new();
                loop {
                    while !is_whole(&read) {
                        let mut piece = [0; 4096];
                        match socket.read(&mut piece).await {
                            Ok(0) | Err(_) => return,
                            Ok(count) => read.extend_from_slice(&piece[..count]),
                        }
                    }
                    let request = String::from_utf8(std::mem::take(&mut read)).unwrap();
                    let answer = answer(&request);
                    noted.lock().unwrap().push(request);
                    // Who has read enough closes.
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Server { base, seen }
}

/// Whether a request with a declared length, or without a body, has come.
fn is_whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let declared = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    body.len() >= declared
}

fn redirect(status: u16, to: &str) -> String {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn endpoint(base: &str, change: impl FnOnce(&mut EndpointSettings)) -> NamedEndpoint {
    let mut settings = EndpointSettings {
        name: "e".to_owned(),
        base_url: base.to_owned(),
        headers: vec![("X-Secret".to_owned(), "s".to_owned())],
        ..EndpointSettings::default()
    };
    change(&mut settings);
    NamedEndpoint::new(
        settings,
        None,
        &SystemTls::default(),
        &Way::default(),
        &Tasks::new(),
    )
}

fn call(verb: Verb, method: &str, body: Body) -> Invocation {
    let mut head = Head::new(MethodPath::parse(method.to_owned()).unwrap(), Origin::Http);
    head.verb = Some(verb);
    head.headers
        .insert("authorization", HeaderValue::from_static("Bearer a"));
    head.headers
        .insert("x-secret", HeaderValue::from_static("caller"));
    head.content_type = Some(HeaderValue::from_static("text/plain"));
    Invocation { head, body }
}

async fn answered(endpoint: &NamedEndpoint, call: Invocation) -> Result<(i32, String), String> {
    let reply = endpoint
        .invoke(Cow::Owned(call.head), call.body, &crate::Watched::default())
        .await
        .map_err(|error| error.to_string())?;
    let body = reply.body.collect().await.unwrap().to_bytes();
    Ok((reply.status.code, String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test]
async fn headers_of_the_resource_replace_those_of_the_caller() {
    let server = server(|_| OK.to_owned()).await;
    let endpoint = endpoint(&format!("{}/base/", server.base), |settings| {
        for name in ["Host", "Content-Length", "Transfer-Encoding", "Traceparent"] {
            settings.headers.push((name.to_owned(), "9".to_owned()));
        }
    });
    let got = answered(&endpoint, call(Verb::POST, "m", Body::full("abc"))).await;
    assert_eq!(got, Ok((200, "ok".to_owned())));
    let seen = server.seen.lock().unwrap().join("");
    assert!(seen.starts_with("POST /base/m HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("X-Secret: s\r\n") && !seen.contains("caller"),
        "{seen}"
    );
    assert!(
        seen.contains("Content-Length: 3\r\n") && !seen.contains(": 9"),
        "{seen}"
    );
}

#[tokio::test]
async fn redirects_are_followed() {
    let server = server(|request| match request.split(' ').nth(1).unwrap() {
        "/see-other" => redirect(303, "got?x=1"),
        "/again" => redirect(307, "/kept"),
        "/nowhere" => "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        _ => OK.to_owned(),
    })
    .await;
    let endpoint = endpoint(&server.base, |_| {});
    for (method, verb, status, request) in [
        ("see-other", Verb::POST, 200, "GET /got?x=1 "),
        ("again", Verb::POST, 200, "POST /kept "),
        ("nowhere", Verb::GET, 302, "GET /nowhere "),
    ] {
        let body = if verb == Verb::POST { "abc" } else { "" };
        let got = answered(&endpoint, call(verb, method, Body::full(body)))
            .await
            .unwrap();
        assert_eq!(got.0, status, "{method}");
        let seen = server.seen.lock().unwrap().pop().unwrap();
        assert!(seen.starts_with(request), "{seen}");
        // Within its origin the endpoint keeps what is its own.
        assert!(
            seen.contains("X-Secret: s\r\n") && seen.contains("Authorization: "),
            "{seen}"
        );
        assert_eq!(seen.ends_with("abc"), method == "again", "{seen}");
        assert_eq!(seen.contains("text/plain"), method != "see-other", "{seen}");
    }
}

#[tokio::test]
async fn another_origin_learns_no_secret() {
    let other = server(|_| OK.to_owned()).await;
    let to = format!("{}/there", other.base);
    let server = server(move |_| redirect(308, &to)).await;
    let endpoint = endpoint(&server.base, |_| {});
    for _ in 0..2 {
        let got = answered(&endpoint, call(Verb::PUT, "m", Body::full("abc"))).await;
        assert_eq!(got, Ok((200, "ok".to_owned())));
        let seen = other.seen.lock().unwrap().pop().unwrap();
        assert!(seen.starts_with("PUT /there "), "{seen}");
        assert!(seen.ends_with("abc"), "{seen}");
        let lower = seen.to_lowercase();
        assert!(
            !lower.contains("secret") && !lower.contains("authorization"),
            "{seen}"
        );
    }
}

#[tokio::test]
async fn redirects_end() {
    let loops = server(|_| redirect(302, "/m")).await;
    let error = answered(
        &endpoint(&loops.base, |_| {}),
        call(Verb::GET, "m", Body::empty()),
    )
    .await
    .unwrap_err();
    assert!(error.ends_with("/m\": stopped after 10 redirects"), "{error}");
    assert_eq!(loops.seen.lock().unwrap().len(), 11);
    let odd = server(|_| redirect(302, "ftp://h/")).await;
    let error = answered(&endpoint(&odd.base, |_| {}), call(Verb::GET, "m", Body::empty()))
        .await
        .unwrap_err();
    assert!(error.ends_with("unsupported protocol scheme \"ftp\""), "{error}");
}

/// As Go's client takes them, whatever the apps of the sidecar may answer with.
#[tokio::test]
async fn a_head_of_an_endpoint_may_be_long_but_not_without_end() {
    for (length, is_taken) in [(9 << 20, true), (11 << 20, false)] {
        let head = format!("X: {}\r\n", "y".repeat(length));
        let answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 2\r\n\r\nok");
        let server = server(move |_| answer.clone()).await;
        let endpoint = endpoint(&server.base, |_| {});
        match answered(&endpoint, call(Verb::GET, "m", Body::empty())).await {
            Ok(answer) => assert!(is_taken && answer.0 == 200, "{answer:?}"),
            Err(error) => {
                let wanted = "net/http: server response headers exceeded 10485760 bytes; aborted";
                assert!(!is_taken && error.contains(wanted), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_gone_is_not_sent_again() {
    let server = server(|_| redirect(307, "/again")).await;
    let endpoint = endpoint(&server.base, |_| {});
    let (mut sender, stream) =
        http_body_util::channel::Channel::<bytes::Bytes, invoke_core::BodyError>::new(4);
    sender.send_data("abc".into()).await.unwrap();
    drop(sender);
    let stream = Body::stream(stream);
    let got = answered(&endpoint, call(Verb::POST, "m", stream)).await;
    assert_eq!(got.unwrap().0, 307);
}

/// A body of known length is kept for a redirect if it is short. Else the redirect is the answer.
#[tokio::test]
async fn a_short_body_follows_a_redirect_and_a_long_one_does_not() {
    let server = server(|head| {
        if head.starts_with("POST /again") {
            OK.to_owned()
        } else {
            redirect(307, "/again")
        }
    })
    .await;
    let endpoint = endpoint(&server.base, |_| {});
    for (length, wanted) in [(64 << 10, 200), ((64 << 10) + 1, 307)] {
        let body = http_body_util::Full::new(bytes::Bytes::from(vec![b'x'; length]));
        let body = Body::stream(body.map_err(|never| match never {}));
        let got = answered(&endpoint, call(Verb::POST, "m", body)).await;
        assert_eq!(got.unwrap().0, wanted, "{length}");
    }
}

#[tokio::test]
async fn what_cannot_be_set_up_fails_by_itself() {
    type Change = fn(&mut EndpointSettings);
    let changes: [(Change, &str); 8] = [
        (
            |settings| settings.base_url = "nothing".to_owned(),
            "http endpoint e: \"nothing\" is no address",
        ),
        (
            |settings| settings.base_url = "http://h?x".to_owned(),
            "http endpoint e: invalid address",
        ),
        (
            |settings| settings.base_url = "http://u:pw@h".to_owned(),
            "http endpoint e: invalid address of an HTTP endpoint \"(not shown)\"",
        ),
        (
            |settings| settings.headers.push(("a b".to_owned(), String::new())),
            "http endpoint e: invalid header \"a b\"",
        ),
        (
            |settings| settings.root_ca = "junk".to_owned(),
            "failed to add root cert to cert pool for http endpoint e",
        ),
        (
            |settings| settings.private_key = "junk".to_owned(),
            "failed to load client certificate for http endpoint e: ",
        ),
        (
            |settings| (settings.certificate, settings.private_key) = ("junk".to_owned(), "junk".to_owned()),
            "failed to load client certificate for http endpoint e: ",
        ),
        (
            |settings| settings.renegotiation = "Often".to_owned(),
            "invalid renegotiation value Often for http endpoint e",
        ),
    ];
    for (change, wanted) in changes {
        let broken = endpoint("http://127.0.0.1:1", change);
        let told = broken.broken().unwrap().to_string();
        assert!(told.starts_with(wanted), "{told}");
        let error = answered(&broken, call(Verb::GET, "m", Body::empty())).await;
        assert_eq!(error, Err(told));
    }
}
