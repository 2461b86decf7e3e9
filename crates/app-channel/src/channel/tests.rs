//! Calls to apps that are real sockets.

use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use invoke_core::{MethodPath, Origin, Verb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn listen() -> (TcpListener, HttpChannel, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let settings = HttpSettings {
        protocol: HttpProtocol::Http,
        base: base.clone(),
        tls: None,
        proxy: None,
        token: Some(HeaderValue::from_static("secret")),
        max_header_bytes: 4096,
        deadline_header: None,
        reuse: transport::client::Reuse::default(),
    };
    (listener, HttpChannel::new(settings, Tasks::new()).unwrap(), base)
}

fn call(verb: Verb, body: Body) -> Invocation {
    let mut head = Head::new(MethodPath::parse("m").unwrap(), Origin::Http);
    head.verb = Some(verb);
    Invocation { head, body }
}

/// Reads until `end` went by.
async fn read_to(socket: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.windows(end.len()).any(|window| window == end.as_bytes()) {
        let mut piece = [0; 1024];
        let count = socket.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn the_request_on_the_wire() {
    let (listener, channel, base) = listen().await;
    for (verb, body, end, wanted) in [
        (Verb::GET, Body::empty(), "\r\n\r\n", None),
        (
            Verb::POST,
            Body::empty(),
            "\r\n\r\n",
            Some("Content-Length: 0\r\n"),
        ),
        (
            Verb::POST,
            Body::full("abc"),
            "abc",
            Some("Content-Length: 3\r\n"),
        ),
        (Verb::GET, Body::full("abc"), "abc", Some("Content-Length: 3\r\n")),
    ] {
        let app = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let request = read_to(&mut socket, end).await;
            socket
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
                .await
                .unwrap();
            request
        };
        let (reply, request) = tokio::join!(channel.send(call(verb, body)), app);
        assert_eq!(reply.unwrap().body.collect().await.unwrap().to_bytes(), "hi");
        let host = base.strip_prefix("http://").unwrap();
        assert!(request.contains(&format!("Host: {host}\r\n")), "{request}");
        assert!(request.contains("Dapr-Api-Token: secret\r\n"), "{request}");
        match wanted {
            Some(framing) => assert!(request.contains(framing), "{request}"),
            None => assert!(
                !request.contains("ontent-") && !request.contains("ransfer-"),
                "{request}"
            ),
        }
    }
}

#[tokio::test]
async fn a_stream_is_chunked_and_a_declared_one_is_not() {
    for declared in [None, Some("6")] {
        let (listener, channel, _) = listen().await;
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(4);
        sender.send_data("abc".into()).await.unwrap();
        let mut call = call(Verb::POST, Body::stream(body));
        if let Some(declared) = declared {
            call.head
                .headers
                .insert(header::CONTENT_LENGTH, declared.parse().unwrap());
        }
        let app = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let head = read_to(&mut socket, "abc").await;
            sender.send_data("def".into()).await.unwrap();
            drop(sender);
            read_to(&mut socket, "def").await;
            socket
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
            head
        };
        let (reply, head) = tokio::join!(channel.send(call), app);
        assert_eq!(reply.unwrap().status.code, 204);
        match declared {
            Some(_) => assert!(head.contains("Content-Length: 6\r\n"), "{head}"),
            None => assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}"),
        }
    }
}

/// What becomes of an answer that the app writes before it closes.
async fn answer(bytes: &[u8]) -> Result<Result<Bytes, String>, String> {
    let (listener, channel, base) = listen().await;
    let app = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_to(&mut socket, "\r\n\r\n").await;
        socket.write_all(bytes).await.unwrap();
    };
    let (reply, ()) = tokio::join!(channel.send(call(Verb::POST, Body::empty())), app);
    match reply {
        Ok(reply) => Ok(reply
            .body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(|e| e.to_string())),
        Err(error) => Err(error.to_string().replace(&base, "BASE")),
    }
}

#[tokio::test]
async fn answers_that_break_off() {
    let whole = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(whole, Ok(Ok("abc".into())));
    let too_short = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(
        too_short,
        Ok(Ok("abc".into())),
        "a length that is too large is forgiven"
    );
    let long: &str = &format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}",
        "x".repeat(4097)
    );
    for bytes in [long, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"] {
        let cut = answer(bytes.as_bytes()).await;
        assert!(cut.clone().unwrap().is_err(), "{cut:?}");
    }
    let longest = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}",
        "x".repeat(4096)
    );
    let whole = answer(longest.as_bytes()).await.unwrap();
    assert_eq!(whole.map(|body| body.len()), Ok(4096));
    let cut = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    assert!(
        cut.clone().unwrap().is_err(),
        "a chunked body without its end is no whole one: {cut:?}"
    );
    assert_eq!(answer(b"").await, Err("Post \"BASE/m\": EOF".to_owned()));
    let garbage = answer(b"garbage\r\n\r\n").await.unwrap_err();
    let wanted = "Post \"BASE/m\": net/http: HTTP/1.x transport connection broken: malformed HTTP response \"garbage\"";
    assert_eq!(garbage, wanted);
    let packed = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n").await;
    let wanted = "Post \"BASE/m\": net/http: HTTP/1.x transport connection broken: \
                  unsupported transfer encoding: \"gzip, chunked\"";
    assert_eq!(packed.unwrap_err(), wanted);
}

#[tokio::test]
async fn what_an_answer_says_of_itself() {
    for (verb, given, wanted) in [
        (
            Verb::HEAD,
            "Content-Length: 10\r\n",
            &[("content-length", "10")][..],
        ),
        (Verb::HEAD, "Content-Length: 1x\r\n", &[]),
        (Verb::HEAD, "", &[]),
        (Verb::GET, "Content-Length: 0\r\n", &[]),
        (Verb::GET, "Content-Length: 0\r\ntracestate: a=1\r\n", &[]),
        (
            Verb::GET,
            "Content-Length: 0\r\ntraceparent: a\r\ntraceparent: b\r\ntracestate: a=1\r\n",
            &[("traceparent", "a"), ("tracestate", "a=1")],
        ),
        (
            Verb::GET,
            "Content-Length: 0\r\nContent-Type:\r\nX:\r\n",
            &[("x", "")],
        ),
        (
            Verb::GET,
            "Content-Length: 0\r\nKeep-Alive: timeout=5\r\nTrailer: x\r\n",
            &[],
        ),
    ] {
        let (listener, channel, _) = listen().await;
        let app = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_to(&mut socket, "\r\n\r\n").await;
            let answer = format!("HTTP/1.1 404 Not Found\r\n{given}\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
        };
        let (reply, ()) = tokio::join!(channel.send(call(verb, Body::empty())), app);
        let reply = reply.unwrap();
        let headers = reply.headers.iter();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        headers.sort_unstable();
        assert_eq!(headers, wanted, "{verb} {given:?}");
        assert_eq!(reply.content_type, None);
    }
}

#[tokio::test]
async fn a_query_goes_out_as_it_came() {
    let (listener, channel, base) = listen().await;
    for (query, wanted) in [
        (
            &b"a=\"<`>\"&b=%22"[..],
            &b"GET /m?a=\"<`>\"&b=%22 HTTP/1.1\r\n"[..],
        ),
        (b"a=\xe9", b"GET /m?a=\xe9 HTTP/1.1\r\n"),
        (b"a b", b"GET /m?a%20b HTTP/1.1\r\n"),
    ] {
        let mut call = call(Verb::GET, Body::empty());
        call.head.query = Bytes::from_static(query);
        let app = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut line = vec![0; wanted.len()];
            socket.read_exact(&mut line).await.unwrap();
            line
        };
        let (reply, line) = tokio::join!(channel.send(call), app);
        assert_eq!(line, wanted, "{}", String::from_utf8_lossy(&line));
        let error = reply.unwrap_err().to_string();
        let shown = String::from_utf8_lossy(query).replace(' ', "%20");
        assert!(
            error.starts_with(&format!("Get {:?}", format!("{base}/m?{shown}"))),
            "{error}"
        );
    }
}

#[tokio::test]
async fn headers_of_an_answer_are_bounded() {
    let (listener, channel, base) = listen().await;
    let app = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_to(&mut socket, "\r\n\r\n").await;
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Big: {}\r\nContent-Length: 0\r\n\r\n",
            "x".repeat(5000)
        );
        let _ = socket.write_all(head.as_bytes()).await;
    };
    let (reply, ()) = tokio::join!(channel.send(call(Verb::GET, Body::empty())), app);
    let wanted = format!("Get \"{base}/m\": net/http: server response headers exceeded 4096 bytes; aborted");
    assert_eq!(reply.unwrap_err().to_string(), wanted);
}

#[tokio::test]
async fn nobody_listens() {
    let (listener, channel, base) = listen().await;
    drop(listener);
    let error = channel.send(call(Verb::GET, Body::empty())).await.unwrap_err();
    let address = base.strip_prefix("http://").unwrap();
    assert_eq!(
        error.to_string(),
        format!("Get \"{base}/m\": dial tcp {address}: connect: connection refused")
    );
    assert_eq!(error.seen, invoke_core::Delivery::No);
}

#[tokio::test]
async fn calls_that_cannot_be_made() {
    let (_listener, channel, _) = listen().await;
    let mut without_verb = call(Verb::GET, Body::empty());
    without_verb.head.verb = None;
    let mut bad_escape = call(Verb::GET, Body::empty());
    bad_escape.head.method = MethodPath::parse("a%st").unwrap();
    let mut bad_length = call(Verb::POST, Body::empty());
    bad_length
        .head
        .headers
        .insert(header::CONTENT_LENGTH, "x".parse().unwrap());
    for (call, wanted) in [
        (without_verb, "missing HTTP extension field"),
        (call(Verb::CONNECT, Body::empty()), "invalid HTTP verb"),
        (bad_escape, "invalid URL escape \"%st\""),
        (bad_length, "strconv.ParseInt: parsing \"x\": invalid syntax"),
    ] {
        let error = channel.send(call).await.unwrap_err().to_string();
        assert!(error.ends_with(wanted), "{error}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_stale_one_is_replaced() {
    let (listener, channel, _) = listen().await;
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let app = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            read_to(&mut socket, "\r\n\r\n").await;
            socket.write_all(ok).await.unwrap();
        }
        // The third request meets a connection that the app closes without an answer.
        read_to(&mut socket, "\r\n\r\n").await;
        drop(socket);
        let (mut socket, _) = listener.accept().await.unwrap();
        read_to(&mut socket, "\r\n\r\n").await;
        socket.write_all(ok).await.unwrap();
    });
    for _ in 0..3 {
        let reply = channel.send(call(Verb::GET, Body::empty())).await.unwrap();
        assert_eq!(reply.body.collect().await.unwrap().to_bytes(), "hi");
    }
    app.await.unwrap();
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let (listener, channel, _) = listen().await;
    let app = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_to(&mut socket, "\r\n\r\n").await;
        socket
    };
    let mut socket = tokio::select! {
        socket = app => socket,
        _ = channel.send(call(Verb::GET, Body::empty())) => panic!("nobody answered"),
    };
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn the_first_bytes_of_a_slow_answer_do_not_wait_for_the_rest() {
    let (listener, channel, _) = listen().await;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let app = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_to(&mut socket, "\r\n\r\n").await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
            .await
            .unwrap();
        gone.await.unwrap();
        socket.write_all(b"def").await.unwrap();
    });
    let mut reply = channel.send(call(Verb::GET, Body::empty())).await.unwrap();
    assert_eq!(
        reply.body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "abc"
    );
    go.send(()).unwrap();
    assert_eq!(reply.body.collect().await.unwrap().to_bytes(), "def");
    app.await.unwrap();
}
