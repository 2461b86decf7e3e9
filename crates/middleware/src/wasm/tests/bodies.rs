//! Bodies: those that pass by, those that a guest reads, and those that it writes.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::Channel;
use invoke_core::{Body, BodyError};

use super::*;

fn post(body: &str) -> Request<Body> {
    Request::post("/")
        .header("content-length", body.len())
        .body(Body::full(body.to_owned()))
        .unwrap()
}

/// Reads so many bytes of a body to the first page.
fn reads(kind: u32, room: u32) -> String {
    format!("(call $read_body (i32.const {kind}) (i32.const 0) (i32.const {room}))")
}

#[tokio::test]
async fn what_is_read_is_gone_unless_it_is_buffered() {
    let read = format!("(drop {})", reads(0, 4));
    let buffer = "(drop (call $enable_features (i32.const 1)))";
    for (does, wanted) in [
        (String::new(), "POST /\ncontent-length: 6\nonetwo"),
        (read.clone(), "POST /\ncontent-length: 2\nwo"),
        (format!("{read}{read}"), "POST /\ncontent-length: 0\n"),
        (
            format!("{buffer}{read}{read}"),
            "POST /\ncontent-length: 6\nonetwo",
        ),
        (format!("{buffer}{read}"), "POST /\ncontent-length: 6\nonetwo"),
        (
            format!("{buffer}{read}(call $write_body (i32.const 0) «new»)"),
            "POST /\ncontent-length: 3\nnew",
        ),
        (
            "(call $write_body (i32.const 0) (i32.const 0) (i32.const 0))".to_owned(),
            "POST /\ncontent-length: 0\n",
        ),
    ] {
        let wasm = request_of(&format!("{does} (i64.const 1)")).load().await;
        let seen = asked(&wasm, post("onetwo"), echo).await;
        assert_eq!(
            (seen.status.as_u16(), seen.text().as_str()),
            (201, wanted),
            "{does}"
        );
    }
}

#[tokio::test]
async fn the_end_of_a_body_is_told_once_it_is_reached() {
    for (room, body, wanted) in [(4, "onetwo", 4), (9, "onetwo", 1 << 32 | 6), (4, "", 1 << 32)] {
        let does = format!(
            "(i64.store (i32.const 64) {}) (call $write_body (i32.const 1) (i32.const 64) (i32.const 8)) (i64.const 0)",
            reads(0, room)
        );
        let seen = answered(&request_of(&does).load().await, post(body)).await;
        assert_eq!(seen.body, i64::to_le_bytes(wanted), "{room} {body}");
    }
}

#[tokio::test]
async fn a_guest_waits_for_a_body() {
    let (mut sender, body) = Channel::<Bytes, BodyError>::new(1);
    let sending = tokio::spawn(async move {
        for piece in ["one", "two", "three"] {
            tokio::task::yield_now().await;
            sender.send_data(piece.into()).await.unwrap();
        }
    });
    let does = format!(
        "(call $write_body (i32.const 1) (i32.const 0) (i32.wrap_i64 {})) (i64.const 0)",
        reads(0, 100)
    );
    let request = Request::post("/").body(Body::stream(body)).unwrap();
    let seen = answered(&request_of(&does).load().await, request).await;
    assert_eq!(seen.text(), "onetwothree");
    sending.await.unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_is_told() {
    let (sender, body) = Channel::<Bytes, BodyError>::new(1);
    sender.abort(BodyError::TooLarge);
    let does = format!("(drop {}) (i64.const 0)", reads(0, 100));
    let request = Request::post("/").body(Body::stream(body)).unwrap();
    let seen = answered(&request_of(&does).load().await, request).await;
    assert_eq!(seen.status, 500);
    assert!(seen.text().starts_with("error reading body: "), "{}", seen.text());
}

#[tokio::test]
async fn answers_stream_by() {
    let wasm = request_of("(i64.const 1)").load().await;
    let mut call = call(get("/"));
    let Ok(After::Guest(waiting)) = wasm.handle(&mut call).await else {
        panic!("the request goes on");
    };
    let (mut sender, body) = Channel::<Bytes, BodyError>::new(1);
    let answer = waiting.leave(Response::new(Body::stream(body))).await;
    let mut body = answer.into_body();
    // The guest is free again: the answer goes on without it.
    for piece in ["one", "two"] {
        sender.send_data(piece.into()).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece.as_bytes());
    }
}

#[tokio::test]
async fn a_buffered_answer_is_the_guests() {
    let read = reads(1, 100);
    for (before, after, wanted) in [
        ("", String::new(), (201, "GET /\n")),
        (
            "",
            "(call $set_status_code (i32.const 202))".to_owned(),
            (202, "GET /\n"),
        ),
        (
            "",
            "(call $write_body (i32.const 1) «new»)".to_owned(),
            (201, "new"),
        ),
        (
            "",
            format!(
                "(call $write_body (i32.const 1) (i32.const 0) (i32.sub (i32.wrap_i64 {read}) (i32.const 3)))"
            ),
            (201, "GET"),
        ),
        (
            "(call $write_body (i32.const 1) «own»)",
            String::new(),
            (201, "ownGET /\n"),
        ),
        (
            "(call $set_status_code (i32.const 204))",
            "(if (i32.ne (call $get_status_code) (i32.const 201)) (then (unreachable)))".to_owned(),
            (201, "GET /\n"),
        ),
    ] {
        let request = format!("(drop (call $enable_features (i32.const 2))) {before} (i64.const 1)");
        let guest = Guest {
            request: &request,
            response: &after,
            more: "",
        };
        let wasm = guest.load().await;
        let seen = asked(&wasm, get("/"), echo).await;
        assert_eq!(
            (seen.status.as_u16(), seen.text().as_str()),
            wanted,
            "{before} {after}"
        );
        assert_eq!(seen.headers["x-next"], "yes");
        let is_as_it_was = wanted.1 == "GET /\n";
        assert_eq!(
            seen.headers.contains_key("content-length"),
            is_as_it_was,
            "{after}"
        );
    }
}

#[tokio::test]
async fn features_of_the_start_are_those_of_every_call() {
    let guest = Guest {
        request: "(i64.const 1)",
        response: "(call $set_header_value (i32.const 1) «x-guest» «1»)",
        more: "(func (export \"_start\") (drop (call $enable_features (i32.const 2))))",
    };
    let wasm = guest.load().await;
    for _ in 0..2 {
        let seen = asked(&wasm, get("/"), echo).await;
        assert_eq!(
            (seen.status.as_u16(), &seen.headers["x-guest"]),
            (201, &"1".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_stays_broken() {
    let guest = Guest {
        request: "(drop (call $enable_features (i32.const 2))) (i64.const 1)",
        response: "",
        more: "",
    };
    let wasm = guest.load().await;
    let mut call = call(get("/"));
    let Ok(After::Guest(waiting)) = wasm.handle(&mut call).await else {
        panic!("the request goes on");
    };
    let (sender, body) = Channel::<Bytes, BodyError>::new(1);
    sender.abort(BodyError::TooLarge);
    let answer = waiting.leave(Response::new(Body::stream(body))).await;
    assert!(answer.into_body().collect().await.is_err());
}
