//! Readers that stop, and senders whose readers do: nobody else waits, and memory has a bound.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::duplex;

use crate::frame::{flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Budget, Config, Reason, RecvBody, client, server};

const END: u8 = flag::END_STREAM;
const STALLED: usize = 2000;

/// Without end, in pieces as those between sidecars.
fn endless() -> Body {
    let piece = Bytes::from(vec![7; 32 * 1024]);
    let frame = move || Ok::<_, crate::BoxError>(http_body::Frame::data(piece.clone()));
    http_body_util::StreamBody::new(futures_util::stream::iter(std::iter::repeat_with(frame))).boxed_unsync()
}

fn get(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://peer{path}")).body(body).unwrap()
}

/// `/endless` is answered without end, `/deaf` is not read, anything else is sent back.
async fn serve(request: Request<RecvBody>) -> Response<Body> {
    match request.uri().path() {
        "/endless" => Response::new(endless()),
        "/deaf" => never(request).await,
        _ => echo(request).await,
    }
}

/// Both ends of a connection, and what they hold.
struct Both {
    sender: client::Sender,
    client: Arc<Budget>,
    server: Arc<Budget>,
}

fn connect(limit: usize) -> Both {
    let (near, far) = duplex(256 * 1024);
    let (client, server) = (Budget::new(limit), Budget::new(limit));
    let config = |budget: &Arc<Budget>| Config {
        budget: Arc::clone(budget),
        ..Config::default()
    };
    tokio::spawn(server::serve(far, config(&server), serve));
    let (sender, connection) = client::connect(near, config(&client));
    tokio::spawn(connection);
    Both {
        sender,
        client,
        server,
    }
}

impl Both {
    async fn call(&self, path: &str, body: Body) -> Response<RecvBody> {
        let mut call = client::Call::new(get(path, body));
        soon(self.sender.send(&mut call)).await.unwrap()
    }

    /// Calls that need nothing of the others.
    async fn pass(&self) {
        for length in [0, 10, 1000, 300_000] {
            let answer = self.call("/", full(vec![1; length])).await;
            assert_eq!(read(answer.into_body()).await.unwrap().0.len(), length);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads() {
    let both = connect(128 << 20);
    let mut unread = Vec::new();
    for _ in 0..STALLED {
        unread.push(both.call("/endless", empty()).await.into_body());
    }
    for _ in 0..10 {
        both.pass().await;
    }
    let (client, server) = (both.client.used(), both.server.used());
    assert!(client < 64 << 20 && server < 128 << 20, "{client} {server}");
    // They go on where they were.
    for body in &mut unread {
        soon(body.frame()).await.unwrap().unwrap();
    }
    let mut body = unread.pop().unwrap();
    let mut more = 0;
    while more < 1 << 20 {
        more += soon(body.frame())
            .await
            .unwrap()
            .unwrap()
            .data_ref()
            .unwrap()
            .len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_nobody_reads() {
    let both = connect(128 << 20);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..STALLED {
        let sender = both.sender.clone();
        calls.spawn(async move {
            let mut call = client::Call::new(get("/deaf", endless()));
            sender.send(&mut call).await.is_ok()
        });
    }
    for _ in 0..10 {
        both.pass().await;
    }
    let (client, server) = (both.client.used(), both.server.used());
    assert!(server < 64 << 20 && client < 128 << 20, "{client} {server}");
    assert!(calls.try_join_next().is_none(), "none of them ended");
}

/// The windows with which streams are to begin, as far as settings among these frames say so.
fn windows(seen: &[ReceivedFrame]) -> Vec<u32> {
    let settings = seen
        .iter()
        .filter(|frame| frame.kind == kind::SETTINGS && frame.flags == 0);
    let entries = settings.flat_map(|frame| frame.payload.chunks(6).map(<[u8]>::to_vec).collect::<Vec<_>>());
    entries
        .filter(|entry| entry[..2] == setting::INITIAL_WINDOW_SIZE.to_be_bytes())
        .map(|entry| u32::from_be_bytes(*entry.last_chunk().unwrap()))
        .collect()
}

fn budget(limit: usize) -> Config {
    Config {
        budget: Budget::new(limit),
        ..Config::default()
    }
}

const ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];

/// What a client may send of a stream, as long as it keeps to what it was told.
async fn send_unread(peer: &mut Peer, stream: u32, length: usize) -> Vec<ReceivedFrame> {
    peer.send(headers(0, stream, POST)).await;
    for _ in 0..length / 16_000 {
        peer.send(data(0, stream, vec![0; 16_000])).await;
    }
    peer.sync().await
}

#[tokio::test]
async fn streams_begin_with_less_when_much_is_unread() {
    let mut served = served_with(budget(6 << 20), &[], 1 << 20, never).await;
    assert_eq!(windows(&served.peer.sync().await), [256 * 1024]);
    served.peer.send(ACK).await;
    let mut seen = Vec::new();
    for stream in [1, 3, 5, 7] {
        seen.extend(send_unread(&mut served.peer, stream, 200_000).await);
    }
    assert_eq!(windows(&seen), [64 * 1024], "an eighth is used");
    for stream in [9, 11, 13, 15] {
        seen.extend(send_unread(&mut served.peer, stream, 200_000).await);
    }
    assert_eq!(windows(&seen), [64 * 1024], "the client has not heard of it");
    served.peer.send(ACK).await;
    let seen = served.peer.sync().await;
    assert_eq!(windows(&seen), [16 * 1024], "a quarter is used");
    served.peer.send(ACK).await;
    // What was sent before remains within what was allowed then, and what comes now must keep to it.
    served
        .peer
        .send([headers(0, 17, POST), data(0, 1, [0])].concat())
        .await;
    assert_eq!(served.peer.reset().await, (1, Reason::FLOW_CONTROL_ERROR));
    served.peer.send(data(0, 17, vec![0; 16_384])).await;
    served.peer.send(data(0, 17, vec![0; 1])).await;
    assert_eq!(served.peer.reset().await, (17, Reason::FLOW_CONTROL_ERROR));
}

#[tokio::test(start_paused = true)]
async fn streams_begin_with_more_again_when_little_is_unread() {
    let mut served = served_with(budget(6 << 20), &[], 1 << 20, never).await;
    served.peer.sync().await;
    served.peer.send(ACK).await;
    let mut seen = Vec::new();
    for stream in [1, 3, 5, 7] {
        seen.extend(send_unread(&mut served.peer, stream, 200_000).await);
    }
    assert_eq!(windows(&seen), [64 * 1024]);
    served.peer.send(ACK).await;
    for stream in [1, 3, 5, 7] {
        served.peer.send(reset(stream, Reason::CANCEL)).await;
    }
    served.peer.send(headers(END, 9, POST)).await;
    assert_eq!(windows(&served.peer.sync().await), [], "not so soon");
    tokio::time::sleep(Duration::from_secs(2)).await;
    served.peer.send(headers(END, 11, POST)).await;
    assert_eq!(windows(&served.peer.sync().await), [256 * 1024]);
}

#[tokio::test(start_paused = true)]
async fn when_nothing_is_left_what_stands_still_is_reset_and_nothing_new_begins() {
    // The streams count for a quarter of it, whatever they hold.
    let mut served = served_with(budget(1 << 20), &[], 1 << 20, never).await;
    served.peer.sync().await;
    let mut stream = 1;
    let refused = loop {
        served
            .peer
            .send([headers(0, stream, POST), data(0, stream, vec![0; 4000])].concat())
            .await;
        let seen = served.peer.sync().await;
        if let Some(reset) = seen.iter().find(|frame| frame.kind == kind::RST_STREAM) {
            break (reset.stream, Reason::from(reset.number(0)));
        }
        stream += 2;
        assert!(stream < 1000);
    };
    assert_eq!(refused, (stream, Reason::REFUSED_STREAM));
    assert!(
        (768 << 10..850 << 10).contains(&served.shared.lock().held()),
        "a connection gets three quarters"
    );
    // Another moves on, and waits for nobody.
    tokio::time::sleep(Duration::from_secs(2)).await;
    served.peer.sync().await;
    let seen = served.peer.sync().await;
    let resets: Vec<_> = seen
        .iter()
        .filter(|frame| frame.kind == kind::RST_STREAM)
        .map(|frame| (frame.stream, Reason::from(frame.number(0))))
        .collect();
    assert!(!resets.is_empty() && resets.len() < 30, "{resets:?}");
    assert!(
        resets
            .iter()
            .all(|(_, reason)| *reason == Reason::ENHANCE_YOUR_CALM)
    );
    served.peer.send(headers(0, stream + 2, POST)).await;
    let seen = served.peer.sync().await;
    assert!(
        seen.iter().all(|frame| frame.kind != kind::RST_STREAM),
        "{seen:?}"
    );
}

#[tokio::test]
async fn whoever_does_not_keep_to_windows_is_stopped_at_twice_the_budget() {
    // A client that acknowledges no settings keeps the windows that it began with.
    let mut served = served_with(budget(1 << 20), &[], 1 << 20, never).await;
    let streams = || (1..120).step_by(2);
    for stream in streams() {
        served.peer.send(headers(0, stream, POST)).await;
    }
    for stream in streams() {
        served.peer.send(data(0, stream, vec![0; 16_000]).repeat(4)).await;
        served.peer.send(frame(kind::PING, 0, 0, [0; 8])).await;
        let held = served.shared.lock().held();
        assert!(held < 2 << 20, "{held}");
    }
    assert_eq!(served.peer.reset().await.1, Reason::ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn connections_share_a_budget_and_give_back_what_they_held() {
    let shared = budget(1 << 20);
    let mut first = served_with(shared.clone(), &[], 1 << 20, never).await;
    first.peer.sync().await;
    for stream in (1..100).step_by(2) {
        send_unread(&mut first.peer, stream, 16_000).await;
    }
    assert!(shared.budget.used() > 400 << 10);
    let mut second = served_with(shared.clone(), &[], 1 << 20, echo).await;
    assert_eq!(windows(&second.peer.sync().await), [4 * 1024]);
    second
        .peer
        .send([headers(0, 1, POST), data(END, 1, "hello")].concat())
        .await;
    assert_eq!(second.peer.next(&[kind::DATA]).await.payload, b"hello");
    drop(first);
    until(|| shared.budget.used() < 100 << 10).await;
}

#[tokio::test]
async fn an_answer_that_is_whole_but_was_thrown_away_looks_broken() {
    let config = budget(64 << 10);
    let mut connected = connected_with(config, &[], 1 << 20).await;
    let mut bodies = Vec::new();
    for stream in (1..100).step_by(2) {
        let call = connected.call(post(empty()));
        connected.peer.next(&[kind::HEADERS]).await;
        connected
            .peer
            .send([headers(0, stream, HEAD_OK), data(END, stream, vec![0; 4000])].concat())
            .await;
        bodies.push(soon(call).await.unwrap().unwrap().into_body());
    }
    let mut broken = 0;
    for body in bodies {
        match read(body).await {
            Ok((bytes, _)) => assert_eq!(bytes.len(), 4000),
            Err(error) => {
                assert_eq!(error.reset_reason(), Some(Reason::ENHANCE_YOUR_CALM));
                broken += 1;
            }
        }
    }
    assert!(broken > 0);
    until(|| connected.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn a_crumb_does_not_keep_a_buffer_for_long() {
    let mut served = served(never).await;
    served
        .peer
        .send([headers(0, 1, POST), data(0, 1, "crumb"), headers(0, 3, POST)].concat())
        .await;
    served.peer.sync().await;
    let place = |stream| {
        let mut state = served.shared.lock();
        let key = state.streams.key(stream).unwrap();
        let receiving = &mut state.streams.get(key).unwrap().receiving;
        receiving.data.first_mut().unwrap().as_ptr() as usize
    };
    let before = place(1);
    let filler = frame(0x99, 0, 0, vec![0; 16_000]);
    for _ in 0..30 {
        served.peer.send(&filler).await;
    }
    served.peer.sync().await;
    assert_eq!(place(1), before, "it may be read at any moment");
    for _ in 0..60 {
        served.peer.send(&filler).await;
    }
    served.peer.sync().await;
    assert_ne!(place(1), before);
    assert!(served.shared.lock().streams.key(3).is_some());
}

#[tokio::test]
async fn a_client_knows_when_others_should_get_further_calls() {
    let patience = Duration::from_millis(10);
    // A peer that gives nothing back.
    let mut connected = connected_with(
        Config::default(),
        &[(setting::INITIAL_WINDOW_SIZE, 1 << 20)],
        1 << 20,
    )
    .await;
    let call = connected.call(post(endless()));
    let mut sent = 0;
    while sent < 65_535 {
        sent += connected.peer.next(&[kind::DATA]).await.payload.len();
    }
    until(|| connected.sender.is_clogged(patience)).await;
    assert!(!connected.sender.is_clogged(Duration::from_secs(3600)));
    // That nobody has more to send at the moment makes no room.
    call.abort();
    connected.peer.next(&[kind::RST_STREAM]).await;
    connected.peer.sync().await;
    assert!(connected.sender.is_clogged(patience));
    connected.peer.send(window_update(0, 1 << 24)).await;
    until(|| !connected.sender.is_clogged(Duration::ZERO)).await;
    // One of whose answers much is unread.
    let mut connected = connected_with(budget(1 << 20), &[], 1 << 20).await;
    assert!(!connected.sender.is_clogged(Duration::ZERO));
    let call = connected.call(post(empty()));
    connected.peer.next(&[kind::HEADERS]).await;
    connected.peer.send(headers(0, 1, HEAD_OK)).await;
    for _ in 0..14 {
        connected.peer.send(data(0, 1, vec![0; 16_000])).await;
    }
    until(|| connected.sender.is_clogged(Duration::from_secs(3600))).await;
    drop(soon(call).await.unwrap());
    connected.peer.sync().await;
}

#[tokio::test]
async fn heads_of_many_streams_do_not_keep_buffers() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut served = served(move |request: Request<RecvBody>| {
        let _ = tell.send(request.uri().path().as_ptr() as usize);
        never(request)
    })
    .await;
    // `:path` as a literal. The length of the frame is odd, and no two things that were allocated are so far apart.
    let head = |stream| headers(0, stream, [&POST[..2], b"\x04\x06/a/b/c"].concat());
    assert!(head(1).len() % 2 == 1);
    let mut apart = Vec::new();
    for stream in (1..600).step_by(4) {
        served.peer.send([head(stream), head(stream + 2)].concat()).await;
        let (first, second) = (told.recv().await.unwrap(), told.recv().await.unwrap());
        apart.push(second.abs_diff(first));
    }
    assert_eq!(apart[0], head(1).len(), "few share the buffer");
    assert_ne!(apart[149], head(1).len());
}
