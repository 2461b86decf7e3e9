//! What an HTTP server owes its clients of HTTP/2 beyond the frames.

use super::*;
use crate::testing::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, RawFrame, WINDOW_UPDATE, frame,
    next_frame, read_frame, write,
};

/// A literal field without indexing; name and value are short.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).unwrap());
        field.extend(text.as_bytes());
    }
    field
}

/// The head of a request over `http`.
fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = vec![0x86];
    head.extend(field(":method", method));
    head.extend(field(":path", path));
    head.extend(fields.iter().flat_map(|(name, value)| field(name, value)));
    head
}

/// What comes on a stream up to its end, or a reset. Everything else is answered or passed over.
async fn rest(client: &mut TcpStream, stream: u32) -> Vec<RawFrame> {
    let mut frames = Vec::new();
    loop {
        let kinds = [DATA, HEADERS, RST_STREAM, GOAWAY];
        let frame = next_frame(client, &kinds).await.expect("the connection goes on");
        assert_ne!(frame.kind, GOAWAY, "{frame:?}");
        if frame.stream != stream {
            continue;
        }
        let is_end = frame.kind == RST_STREAM || frame.flags & END_STREAM != 0;
        frames.push(frame);
        if is_end {
            return frames;
        }
    }
}

/// Whether a field of a head has this text. Heads are not packed with Huffman's code.
fn has(frame: &RawFrame, text: &str) -> bool {
    frame
        .payload
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Whether nothing more comes on a stream: the answer to a ping shows that the server is past it.
async fn is_silent(client: &mut TcpStream, stream: u32) -> bool {
    write(client, frame(PING, 0, 0, b"are you?")).await;
    loop {
        let frame = read_frame(client).await.unwrap();
        if frame.kind == PING && frame.payload == b"are you?" {
            return true;
        }
        if frame.stream == stream && frame.kind != WINDOW_UPDATE {
            return false;
        }
    }
}

#[tokio::test]
async fn a_request_that_is_malformed_costs_nobody_else() {
    let mut server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    write(&mut client, frame(HEADERS, 5, 1, GET_WAIT)).await;
    assert_eq!(server.sees().await, "/wait");
    let malformed = [
        head("GET", "/", &[("Upper", "x")]),
        head("GET", "/", &[("connection", "close")]),
        head("GET", "/", &[("te", "gzip")]),
        head("GET", "/", &[("a b", "x")]),
        head("GET", "/", &[("content-length", "5")]),
        head("GET", "", &[]),
        head("GET", "foo", &[]),
        head("CONNECT", "/", &[(":protocol", "websocket")]),
        field(":method", "CONNECT"),
    ];
    for (stream, malformed) in (3..).step_by(2).zip(&malformed) {
        write(&mut client, frame(HEADERS, 5, stream, malformed)).await;
        let frames = rest(&mut client, stream).await;
        assert_eq!((frames.len(), frames[0].kind), (1, RST_STREAM), "{frames:?}");
        assert_eq!(frames[0].number(0), 1, "PROTOCOL_ERROR");
    }
    server.release.add_permits(1);
    let frames = rest(&mut client, 1).await;
    assert_eq!(frames.last().unwrap().payload, b"released");
}

#[tokio::test]
async fn the_answer_to_head_has_no_data() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    write(&mut client, frame(HEADERS, 5, 1, &head("HEAD", "/some", &[]))).await;
    let frames = rest(&mut client, 1).await;
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert!(frames[0].flags & END_STREAM != 0);
    // What GET would give has five bytes: `content-length` is an index, its value a text.
    assert!(has(&frames[0], "\x015"), "{frames:?}");
    assert!(is_silent(&mut client, 1).await);
    write(&mut client, frame(HEADERS, 5, 3, &head("GET", "/some", &[]))).await;
    let frames = rest(&mut client, 3).await;
    assert_eq!(frames[1].payload, b"/some");
    assert!(has(&frames[0], "\x015"), "{frames:?}");
    assert!(has(&frames[0], " GMT"), "it has a date");
}

#[tokio::test]
async fn cookies_reach_the_handler_as_one() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    let cookies = [
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
    ];
    write(
        &mut client,
        frame(HEADERS, 5, 1, &head("GET", "/request", &cookies)),
    )
    .await;
    let frames = rest(&mut client, 1).await;
    let seen = String::from_utf8_lossy(&frames[1].payload).into_owned();
    assert!(seen.contains("\"cookie\": \"a=1; b=2; c=3\""), "{seen}");
}

#[tokio::test]
async fn raw_bytes_in_a_path_reach_the_handler_as_escapes() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    let raw = head("GET", "/a\"<>`?b=\"<>", &[]);
    write(&mut client, frame(HEADERS, 5, 1, &raw)).await;
    let frames = rest(&mut client, 1).await;
    assert_eq!(frames[1].payload, b"/a%22%3C%3E%60");
    write(&mut client, frame(HEADERS, 5, 3, &head("GET", "/%zz", &[]))).await;
    let frames = rest(&mut client, 3).await;
    assert_eq!(frames[1].payload, b"400 Bad Request");
    drop(client);
    assert_eq!(server.stop().await, ["/a%22%3C%3E%60"]);
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked_when_its_body_is_read() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    let expecting = [("expect", "100-continue"), ("content-length", "3")];
    let open = END_HEADERS;
    write(
        &mut client,
        frame(HEADERS, open, 1, &head("POST", "/echo", &expecting)),
    )
    .await;
    let asked = next_frame(&mut client, &[HEADERS]).await.unwrap();
    assert!(has(&asked, "100") && asked.flags & END_STREAM == 0, "{asked:?}");
    write(&mut client, frame(DATA, END_STREAM, 1, b"abc")).await;
    assert_eq!(rest(&mut client, 1).await[1].payload, b"abc");
    // Who is answered at once is not asked, and told to send nothing.
    write(
        &mut client,
        frame(HEADERS, open, 3, &head("POST", "/early", &expecting)),
    )
    .await;
    let answer = next_frame(&mut client, &[HEADERS]).await.unwrap();
    assert!(!has(&answer, "100"), "{answer:?}");
    let reset = next_frame(&mut client, &[RST_STREAM]).await.unwrap();
    assert_eq!((reset.stream, reset.number(0)), (3, 0), "NO_ERROR");
    // Who does not wait is not asked.
    let both = [
        frame(HEADERS, open, 5, &head("POST", "/wait", &expecting)),
        frame(DATA, END_STREAM, 5, b"abc"),
    ];
    write(&mut client, both.concat()).await;
    assert!(is_silent(&mut client, 5).await);
}

#[tokio::test]
async fn an_upload_that_is_answered_early_may_go_on_to_its_end() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    let known = [("content-length", "100000")];
    for (stream, fields) in [(1, &known[..]), (3, &[])] {
        write(
            &mut client,
            frame(HEADERS, END_HEADERS, stream, &head("POST", "/early", fields)),
        )
        .await;
        let answer = next_frame(&mut client, &[HEADERS]).await.unwrap();
        assert_eq!(answer.stream, stream);
        assert_eq!(next_frame(&mut client, &[DATA]).await.unwrap().payload, b"/early");
        // More than the window of a stream at its beginning: there is a new one.
        for length in [16_000_usize, 16_000, 16_000, 16_000] {
            write(&mut client, frame(DATA, 0, stream, &vec![7; length])).await;
        }
        assert!(is_silent(&mut client, stream).await);
        for length in [16_000_usize, 16_000, 4_000] {
            write(&mut client, frame(DATA, 0, stream, &vec![7; length])).await;
        }
        assert!(is_silent(&mut client, stream).await);
        write(&mut client, frame(DATA, END_STREAM, stream, b"")).await;
        assert!(is_silent(&mut client, stream).await);
    }
}

#[tokio::test]
async fn an_upload_with_much_more_to_come_is_told_to_stop() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    let length = [("content-length", "262145")];
    write(
        &mut client,
        frame(HEADERS, END_HEADERS, 1, &head("POST", "/early", &length)),
    )
    .await;
    let frames = rest(&mut client, 1).await;
    assert_eq!(frames.last().unwrap().payload, b"/early", "the answer is whole");
    let reset = next_frame(&mut client, &[RST_STREAM]).await.unwrap();
    assert_eq!((reset.stream, reset.number(0)), (1, 0), "NO_ERROR");
    // One of unknown length may have as much.
    write(
        &mut client,
        frame(HEADERS, END_HEADERS, 3, &head("POST", "/early", &[])),
    )
    .await;
    rest(&mut client, 3).await;
    let mut sent = 0;
    let reset = loop {
        write(&mut client, frame(DATA, 0, 3, &[7; 1024])).await;
        sent += 1024;
        if sent == 256 * 1024 {
            break next_frame(&mut client, &[RST_STREAM]).await.unwrap();
        }
    };
    assert_eq!((reset.stream, reset.number(0)), (3, 0), "NO_ERROR");
    // The connection goes on.
    write(&mut client, frame(HEADERS, 5, 5, GET)).await;
    assert_eq!(rest(&mut client, 5).await[1].payload, b"/");
}

#[tokio::test]
async fn an_end_that_does_not_come_is_not_waited_for() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    let length = [("content-length", "3")];
    write(
        &mut client,
        frame(HEADERS, END_HEADERS, 1, &head("POST", "/echo", &length)),
    )
    .await;
    write(&mut client, frame(DATA, 0, 1, b"abc")).await;
    // `/echo` waits for the end; this one does not.
    write(
        &mut client,
        frame(HEADERS, END_HEADERS, 3, &head("POST", "/early", &length)),
    )
    .await;
    write(&mut client, frame(DATA, 0, 3, b"abc")).await;
    assert_eq!(rest(&mut client, 3).await[1].payload, b"/early");
    let reset = next_frame(&mut client, &[RST_STREAM]).await.unwrap();
    assert_eq!((reset.stream, reset.number(0)), (3, 0));
}
