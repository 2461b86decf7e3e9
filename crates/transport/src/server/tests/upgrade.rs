//! `Upgrade: h2c`: from HTTP/1.1 to HTTP/2 on one connection.

use super::*;
use crate::testing::{
    ACK, DATA, END_STREAM, HEADERS, SETTINGS, frame, next_frame, read_answer, read_frame, read_head,
    read_rest, write,
};

const UPGRADE: &str = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
const OK: u8 = 0x88;

fn request(line: &str, rest: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: x\r\n{UPGRADE}{rest}")
}

/// Reads the answer that switches, and begins HTTP/2.
async fn switch(client: &mut TcpStream) {
    let head = read_head(client).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("Upgrade: h2c\r\n"), "{head}");
    write(client, PREFACE).await;
    write(client, frame(SETTINGS, 0, 0, &[])).await;
}

/// The body of the answer on a stream; its status must be 200.
async fn answer(client: &mut TcpStream, stream: u32) -> String {
    let head = next_frame(client, &[HEADERS]).await.unwrap();
    assert_eq!((head.stream, head.payload[0]), (stream, OK));
    let mut body = Vec::new();
    loop {
        let data = next_frame(client, &[DATA]).await.unwrap();
        assert_eq!(data.stream, stream);
        body.extend(&data.payload);
        if data.flags & END_STREAM != 0 {
            return String::from_utf8(body).unwrap();
        }
    }
}

#[tokio::test]
async fn the_request_that_asks_is_the_first_stream() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, request("GET /a?b=c", "\r\n")).await;
    switch(&mut client).await;
    assert_eq!(answer(&mut client, 1).await, "/a");
    // Further ones have streams of their own: `GET /`, over `http`.
    write(&mut client, frame(HEADERS, 5, 3, GET)).await;
    assert_eq!(answer(&mut client, 3).await, "/");
    drop(client);
    assert_eq!(server.stop().await, ["/a", "/"]);
}

#[tokio::test]
async fn a_client_need_not_wait_for_the_answer() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let mut all = request("GET /a", "\r\n").into_bytes();
    all.extend(PREFACE);
    all.extend(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
    all.extend(frame(HEADERS, 5, 3, GET));
    write(&mut client, all).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    let mut streams = vec![];
    while streams.len() < 2 {
        streams.push(next_frame(&mut client, &[HEADERS]).await.unwrap().stream);
    }
    streams.sort_unstable();
    assert_eq!(streams, [1, 3]);
    drop(client);
    let mut seen = server.stop().await;
    seen.sort_unstable();
    assert_eq!(seen, ["/", "/a"]);
}

#[tokio::test]
async fn the_preface_may_come_in_pieces() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, request("GET /a", "\r\n")).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    let mut rest = PREFACE.to_vec();
    rest.extend(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
    for byte in rest {
        write(&mut client, [byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(&mut client, 1).await, "/a");
}

#[tokio::test]
async fn the_request_keeps_its_head_and_body() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, request("PUT /request?b=c", "X-Test: 1\r\n\r\n")).await;
    switch(&mut client).await;
    let seen = answer(&mut client, 1).await;
    for wanted in ["PUT", "/request?b=c", "HTTP/2.0", "\"x-test\": \"1\""] {
        assert!(seen.contains(wanted), "{wanted}: {seen}");
    }
    assert!(!seen.contains("upgrade") && !seen.contains("settings"), "{seen}");

    for (head, body) in [
        ("Content-Length: 3\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let mut client = server.connect().await;
        write(&mut client, request("POST /echo", head)).await;
        write(&mut client, body).await;
        switch(&mut client).await;
        assert_eq!(answer(&mut client, 1).await, "abc");
    }
}

#[tokio::test]
async fn what_cannot_be_upgraded_is_refused() {
    let server = Server::http(config()).await;
    let too_long = format!("Content-Length: 1025\r\n\r\n{}", "y".repeat(1025));
    let twice = "HTTP2-Settings: AAMAAABk\r\n\r\n";
    for request in [
        request("POST /echo", &too_long),
        request("GET /a", twice),
        request("GET /a", "\r\n").replace("AAMAAABk", "AAMAAAB"),
        request("GET /a", "\r\n").replace("HTTP2-Settings: AAMAAABk\r\n", ""),
    ] {
        let mut client = server.connect().await;
        write(&mut client, &request).await;
        let rest = read_rest(&mut client).await;
        assert!(rest.starts_with("HTTP/1.1 500 "), "{request}: {rest}");
    }
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn an_upgrade_that_is_not_offered_is_passed_over() {
    let server = Server::http(http1_only()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        write(&mut client, request("GET /a", "\r\n")).await;
        assert_eq!(read_answer(&mut client).await.1, "/a");
    }
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let other = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    write(&mut client, other).await;
    assert_eq!(read_answer(&mut client).await.1, "/a");
}

#[tokio::test]
async fn a_client_that_does_not_begin_http2_is_given_up() {
    let impatient = HttpServerConfig {
        header_timeout: Duration::from_millis(400),
        ..config()
    };
    let server = Server::http(impatient).await;
    for start in [&PREFACE[..0], &PREFACE[..20]] {
        let mut client = server.connect().await;
        write(&mut client, request("GET /a", "\r\n")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        write(&mut client, start).await;
        read_rest(&mut client).await;
    }
    // One that has begun may be silent for any time.
    let mut client = server.connect().await;
    write(&mut client, request("GET /a", "\r\n")).await;
    switch(&mut client).await;
    assert_eq!(answer(&mut client, 1).await, "/a");
    for _ in 0..2 {
        let mut slow = server.connect().await;
        write(&mut slow, "GET").await;
        read_rest(&mut slow).await;
    }
    write(&mut client, frame(HEADERS, 5, 3, GET)).await;
    assert_eq!(answer(&mut client, 3).await, "/");
    drop(client);
    assert_eq!(server.stop().await, ["/a", "/"]);
}

#[tokio::test]
async fn something_else_than_http2_ends_the_connection() {
    let server = Server::http(config()).await;
    for wrong in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[PREFACE, &frame(0, 0, 1, b"x")].concat(),
    ] {
        let mut client = server.connect().await;
        write(&mut client, request("GET /a", "\r\n")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        write(&mut client, wrong).await;
        read_rest(&mut client).await;
    }
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn an_upgraded_connection_drains() {
    let mut server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, request("GET /wait", "\r\n")).await;
    switch(&mut client).await;
    assert_eq!(server.sees().await, "/wait");
    server.trigger.begin_drain();
    server.release.add_permits(1);
    assert_eq!(answer(&mut client, 1).await, "released");
    while let Some(frame) = read_frame(&mut client).await {
        if frame.kind == crate::testing::PING && frame.flags & ACK == 0 {
            write(&mut client, self::frame(frame.kind, ACK, 0, &frame.payload)).await;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn whoever_may_not_switch_is_answered_before_the_body_is_read() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    // The body never comes.
    let rest = "Unknown: yes\r\nContent-Length: 1000\r\n\r\n";
    write(&mut client, request("POST /a", rest)).await;
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    drop(client);
    assert_eq!(server.stop().await, ["/a"]);
}
