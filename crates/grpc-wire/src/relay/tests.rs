//! Relayed calls against a peer that is scripted frame by frame.

use std::io;
use std::time::Duration;

use http::Request;
use http::header::HeaderMap;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use lifecycle::Tasks;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use transport::client::H2Origin;
use transport::testing::*;

const CANCEL: u32 = 8;

type Answered = Result<Response<RelayedAnswer>, RelayFailure>;

/// A call in progress: its sender, its answer, and the peer that it went to.
struct Call {
    sender: Sender<Bytes, io::Error>,
    answer: JoinHandle<Answered>,
    peer: TcpStream,
    _tasks: Tasks,
}

/// A call whose request is on its way.
async fn call(max: usize, deadline: Option<Instant>) -> Call {
    let (listener, address) = listen().await;
    let (sender, body) = Channel::new(4);
    let tasks = Tasks::new();
    let origin = H2Origin::new(&address, tasks.clone());
    let answer = tokio::spawn(async move {
        let (relay, body) = Relay::new(body, max, deadline);
        let request = Request::post(format!("http://{address}/a.B/C"))
            .body(body)
            .unwrap();
        relay.answer(origin.send(request)).await
    });
    let mut peer = accept(&listener).await;
    let mut preface = [0; 24];
    soon(peer.read_exact(&mut preface)).await.unwrap();
    write(&mut peer, frame(SETTINGS, 0, 0, &[])).await;
    next_frame(&mut peer, &[HEADERS]).await.unwrap();
    Call {
        sender,
        answer,
        peer,
        _tasks: tasks,
    }
}

impl Call {
    async fn sends(&mut self, flags: u8, headers: &[(&str, &str)]) {
        // `:status: 200`, unless the headers have one.
        let mut block = if headers[0].0 == ":status" {
            Vec::new()
        } else {
            vec![0x88]
        };
        block.extend(fields(headers));
        write(&mut self.peer, frame(HEADERS, END_HEADERS | flags, 1, &block)).await;
    }

    async fn head(&mut self) {
        self.sends(0, &[("content-type", "application/grpc")]).await;
    }

    /// Waits until everything that was sent was taken in.
    async fn sync(&mut self) {
        write(&mut self.peer, frame(PING, 0, 0, &[7; 8])).await;
        while next_frame(&mut self.peer, &[PING]).await.unwrap().flags & ACK == 0 {}
    }

    async fn data(&mut self, data: &[u8]) {
        write(&mut self.peer, frame(DATA, 0, 1, data)).await;
    }

    async fn trailers(&mut self, headers: &[(&str, &str)]) {
        let block = fields(headers);
        write(
            &mut self.peer,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block),
        )
        .await;
    }

    async fn reset(&mut self, code: u32) {
        write(&mut self.peer, frame(RST_STREAM, 0, 1, &code.to_be_bytes())).await;
    }

    /// The code with which the stream to the peer was reset.
    async fn was_reset(&mut self) -> u32 {
        next_frame(&mut self.peer, &[RST_STREAM]).await.unwrap().number(0)
    }

    async fn answered(&mut self) -> Answered {
        soon(&mut self.answer).await.unwrap()
    }

    /// The messages, and the status at the end.
    async fn ended(&mut self) -> (Bytes, GrpcStatus) {
        let answer = self.answered().await.unwrap();
        let in_head = GrpcStatus::from_headers(answer.headers());
        let body = soon(answer.into_body().collect()).await.unwrap();
        let status = body.trailers().and_then(GrpcStatus::from_headers).or(in_head);
        (body.to_bytes(), status.expect("a status"))
    }
}

/// Header fields, literal and not indexed (RFC 7541, section 6.2.2).
fn fields(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

fn message(length: usize) -> Vec<u8> {
    let mut message = vec![0];
    message.extend((length as u32).to_be_bytes());
    message.extend(vec![b'x'; length]);
    message
}

#[tokio::test]
async fn a_request_without_data_ends_with_data() {
    let (_relay, mut request) = Relay::new(http_body_util::Empty::new(), 1000, None);
    assert!(
        !request.is_end_stream(),
        "servers do not look for the end in the head"
    );
    assert!(request.frame().await.is_none());
    let (_relay, mut request) = Relay::new(http_body_util::Full::new(Bytes::from("\0\0\0\0\0")), 1000, None);
    assert!(!request.is_end_stream());
    request.frame().await.unwrap().unwrap();
    assert!(request.is_end_stream());
}

#[tokio::test]
async fn messages_and_odd_statuses_pass() {
    let mut call = call(100, None).await;
    call.head().await;
    call.data(&message(3)).await;
    call.trailers(&[
        ("grpc-status", "20"),
        ("grpc-status-details-bin", "*"),
        ("x", "y"),
    ])
    .await;
    let answer = call.answered().await.unwrap();
    let body = soon(answer.into_body().collect()).await.unwrap();
    let trailers = body.trailers().unwrap().clone();
    assert_eq!(body.to_bytes(), message(3));
    for (name, value) in [
        ("grpc-status", "20"),
        ("grpc-status-details-bin", "*"),
        ("x", "y"),
    ] {
        assert_eq!(trailers[name], value, "what cannot be read is passed on");
    }
}

#[tokio::test]
async fn a_head_is_there_before_any_message() {
    let mut call = call(100, None).await;
    call.head().await;
    let answer = call.answered().await.unwrap();
    assert!(!answer.body().is_end_stream());
    soon(call.sender.send_data(message(1).into())).await.unwrap();
    assert_eq!(
        next_frame(&mut call.peer, &[DATA]).await.unwrap().payload,
        message(1)
    );
}

#[tokio::test]
async fn an_answer_that_is_all_head() {
    let mut call = call(100, None).await;
    let headers = [
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("x", "y"),
    ];
    call.sends(END_STREAM, &headers).await;
    let answer = call.answered().await.unwrap();
    assert!(answer.body().is_end_stream());
    assert_eq!(
        (&answer.headers()["grpc-status"], &answer.headers()["x"]),
        (&"5".parse().unwrap(), &"y".parse().unwrap())
    );
}

#[tokio::test]
async fn resets_become_statuses() {
    for (reset, code) in [(CANCEL, 1), (7, 14), (11, 8), (2, 13), (0, 13)] {
        let mut call = call(100, None).await;
        call.head().await;
        call.data(&message(1)).await;
        let answer = call.answered().await.unwrap();
        call.reset(reset).await;
        let body = soon(answer.into_body().collect()).await.unwrap();
        let status = GrpcStatus::from_headers(body.trailers().unwrap()).unwrap();
        assert_eq!(status.code, code, "{reset}: {}", status.message);
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_no_success() {
    let mut call = call(100, None).await;
    call.head().await;
    let answer = call.answered().await.unwrap();
    drop(call.peer);
    let body = soon(answer.into_body().collect()).await.unwrap();
    let status = GrpcStatus::from_headers(body.trailers().unwrap()).unwrap();
    assert_eq!(status.code, 14);
    assert!(
        status.message.starts_with("error reading from server: "),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn an_end_without_a_status_is_an_error() {
    let mut call = call(100, None).await;
    call.head().await;
    write(&mut call.peer, frame(DATA, END_STREAM, 1, &message(1))).await;
    let (messages, status) = call.ended().await;
    assert_eq!(messages, message(1));
    assert_eq!(status.code, 13);
    assert_eq!(
        status.message,
        "server closed the stream without sending trailers"
    );
}

#[tokio::test]
async fn what_is_no_grpc_says_so() {
    let mut call = call(100, None).await;
    call.sends(0, &[(":status", "502"), ("content-type", "text/html")])
        .await;
    let (_, status) = call.ended().await;
    assert_eq!(status.code, 14);
    assert!(status.message.contains("502 (Bad Gateway)"), "{}", status.message);
    assert_eq!(call.was_reset().await, CANCEL);
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_call() {
    let wanted = GrpcStatus::new(8, "grpc: received message larger than max (101 vs. 100)");
    let mut asked = call(100, None).await;
    soon(asked.sender.send_data(message(101).into())).await.unwrap();
    let failure = asked.answered().await.unwrap_err();
    assert_eq!((failure.status, failure.is_of_request), (wanted.clone(), true));
    assert_eq!(asked.was_reset().await, CANCEL);

    let mut late = call(100, None).await;
    late.head().await;
    let answer = late.answered().await.unwrap();
    soon(late.sender.send_data(message(101).into())).await.unwrap();
    let body = soon(answer.into_body().collect()).await.unwrap();
    assert_eq!(
        GrpcStatus::from_headers(body.trailers().unwrap()),
        Some(wanted.clone())
    );

    let mut answered = call(100, None).await;
    answered.head().await;
    answered.data(&message(101)).await;
    assert_eq!(answered.ended().await.1, wanted);
    assert_eq!(answered.was_reset().await, CANCEL);
}

#[tokio::test]
async fn a_sender_that_breaks_off_is_no_end_of_the_request() {
    let mut call = call(100, None).await;
    soon(call.sender.send_data(message(1).into())).await.unwrap();
    call.sender.abort(io::Error::other("the caller went away"));
    let end = loop {
        let frame = next_frame(&mut call.peer, &[DATA, RST_STREAM]).await.unwrap();
        assert_eq!(frame.flags & END_STREAM, 0, "{frame:?}");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!(end.number(0), CANCEL);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_the_call() {
    let mut waiting = call(100, None).await;
    waiting.answer.abort();
    assert_eq!(waiting.was_reset().await, CANCEL);

    let mut reading = call(100, None).await;
    reading.head().await;
    let answer = reading.answered().await.unwrap();
    drop(answer);
    assert_eq!(reading.was_reset().await, CANCEL);
    assert!(
        soon(reading.sender.send_data(message(1).into())).await.is_err(),
        "the request ended too"
    );
}

#[tokio::test]
async fn the_deadline_ends_a_call_at_any_time() {
    let soon_over = || Some(Instant::now() + Duration::from_millis(30));
    let mut waiting = call(100, soon_over()).await;
    assert_eq!(waiting.answered().await.unwrap_err().status, deadline_exceeded());
    assert_eq!(waiting.was_reset().await, CANCEL);

    let mut reading = call(100, Some(Instant::now() + Duration::from_millis(300))).await;
    reading.head().await;
    assert_eq!(reading.ended().await.1, deadline_exceeded());
    assert_eq!(reading.was_reset().await, CANCEL);
}

#[tokio::test]
async fn a_reset_at_the_deadline_was_because_of_it() {
    let late = || Some(Instant::now());
    let early = || Some(Instant::now() + Duration::from_secs(3600));
    let reset = |reason| http2::Error::Reset {
        reason,
        by: http2::Side::Peer,
    };
    for (deadline, reason, wanted) in [
        (late(), http2::Reason::CANCEL, 4),
        (late(), http2::Reason::INTERNAL_ERROR, 13),
        (early(), http2::Reason::CANCEL, 1),
        (None, http2::Reason::CANCEL, 1),
    ] {
        let (relay, _request) = Relay::new(http_body_util::Empty::<Bytes>::new(), 100, deadline);
        let failed = ClientError::from_http2(reset(reason), false);
        let failure = relay.answer(async { Err(failed) }).await.unwrap_err();
        assert_eq!(failure.status.code, wanted, "{reason}");
    }
    // The same after the head: nobody reads until both have come.
    for (code, wanted) in [(CANCEL, 4), (2, 13)] {
        let deadline = Instant::now() + Duration::from_millis(100);
        let mut broken = call(100, Some(deadline)).await;
        broken.head().await;
        let answer = broken.answered().await.unwrap();
        broken.reset(code).await;
        broken.sync().await;
        tokio::time::sleep_until(deadline.into()).await;
        let ended = soon(answer.into_body().collect()).await.unwrap();
        let status = GrpcStatus::from_headers(ended.trailers().unwrap()).unwrap();
        assert_eq!(status.code, wanted, "{status:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_refused_again_and_again_was_not_seen() {
    let mut call = call(100, None).await;
    call.reset(7).await;
    for _ in 0..3 {
        let again = next_frame(&mut call.peer, &[HEADERS]).await.unwrap();
        write(
            &mut call.peer,
            frame(RST_STREAM, 0, again.stream, &7_u32.to_be_bytes()),
        )
        .await;
    }
    let failure = call.answered().await.unwrap_err();
    assert_eq!((failure.seen, failure.status.code), (Delivery::No, 14));
}

#[tokio::test]
async fn frames_without_data_are_left_out() {
    let mut call = call(100, None).await;
    soon(call.sender.send_data(Bytes::new())).await.unwrap();
    soon(call.sender.send_data(message(1).into())).await.unwrap();
    assert_eq!(
        next_frame(&mut call.peer, &[DATA]).await.unwrap().payload,
        message(1)
    );
    call.head().await;
    call.data(&[]).await;
    call.data(&message(2)).await;
    call.data(&[]).await;
    call.trailers(&[("grpc-status", "0")]).await;
    let mut answer = call.answered().await.unwrap().into_body();
    let first = soon(answer.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), message(2));
    assert!(soon(answer.frame()).await.unwrap().unwrap().is_trailers());
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut encoder, data).unwrap();
    encoder.finish().unwrap()
}

fn packed(data: &[u8]) -> Vec<u8> {
    let data = gzip(data);
    let mut message = vec![1];
    message.extend((data.len() as u32).to_be_bytes());
    message.extend(data);
    message
}

#[tokio::test]
async fn a_packed_request_is_unpacked_as_it_comes() {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(4);
    let (_relay, request) = Relay::new(body, 1000, None);
    let mut request = request.unpacking(Encoding::Gzip);
    let whole = packed(&[b'x'; 500]);
    for _ in 0..2 {
        sender.send_data(whole[..9].to_vec().into()).await.unwrap();
        let early = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut request).poll_frame(cx))).await;
        assert!(early.is_pending());
        sender.send_data(whole[9..].to_vec().into()).await.unwrap();
        let frame = request.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message(500));
    }
    sender.send_data(whole[..9].to_vec().into()).await.unwrap();
    drop(sender);
    assert!(request.frame().await.unwrap().is_err(), "it was cut");
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_for_those_who_did_not_ask_for_it() {
    for (accepts, code, end) in [(None, 0, "0"), (Some("gzip"), 0, "0"), (Some("deflate"), 5, "5")] {
        let mut call = call(1000, None).await;
        let head = [("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
        call.sends(0, &head).await;
        let whole = packed(&[b'x'; 500]);
        call.data(&whole[..9]).await;
        call.data(&whole[9..]).await;
        call.trailers(&[("grpc-status", end)]).await;
        let mut asked = HeaderMap::new();
        if let Some(accepts) = accepts {
            asked.insert("grpc-accept-encoding", header::HeaderValue::from_static(accepts));
        }
        let answer = RelayedAnswer::unpacked_for(&asked, call.answered().await.unwrap());
        let passes = accepts == Some("gzip");
        assert_eq!(answer.headers().contains_key("grpc-encoding"), passes);
        let body = soon(answer.into_body().collect()).await.unwrap();
        let status = GrpcStatus::from_headers(body.trailers().unwrap()).unwrap();
        assert_eq!(status.code, code);
        let wanted = if passes { whole } else { message(500) };
        assert_eq!(body.to_bytes(), wanted);
    }
}

#[tokio::test]
async fn a_bomb_ends_the_answer_and_resets_its_stream() {
    let mut call = call(1000, None).await;
    let head = [("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
    call.sends(0, &head).await;
    call.data(&packed(&[b'x'; 500])).await;
    call.data(&packed(&[0; 1001])).await;
    let answer = RelayedAnswer::unpacked_for(&HeaderMap::new(), call.answered().await.unwrap());
    let body = soon(answer.into_body().collect()).await.unwrap();
    let status = GrpcStatus::from_headers(body.trailers().unwrap()).unwrap();
    assert_eq!(status.code, RESOURCE_EXHAUSTED);
    assert_eq!(body.to_bytes(), message(500));
    assert_eq!(call.was_reset().await, CANCEL);
}
