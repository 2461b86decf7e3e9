//! A client and a server, their tasks and their calls, in many orders. A call that nobody wakes is a deadlock of the model.
//!
//! Heads and bodies are at hand, so that nothing of a connection needs a runtime besides the model.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::BodyExt;
use schedules::explore;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use tokio::io::{DuplexStream, duplex};

use crate::frame::{FrameHead, HEAD, PREFACE, flag, kind, setting};
use crate::state::Shared;
use crate::testing::{Body, HEAD_OK, data, empty, frame, full, go_away, headers, post, settings};
use crate::{Budget, Config, Error, Reason, client};

const SCHEDULES: usize = 300;

/// A server that answers each call with what it was sent, and takes a few at once.
struct Peer {
    io: DuplexStream,
    most: usize,
    open: Vec<(u32, Bytes)>,
}

impl Peer {
    async fn read(&mut self, bytes: &mut [u8]) -> bool {
        use tokio::io::AsyncReadExt;
        self.io.read_exact(bytes).await.is_ok()
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        use tokio::io::AsyncWriteExt;
        let _ = self.io.write_all(bytes.as_ref()).await;
    }

    async fn begin(&mut self) {
        let mut preface = [0; PREFACE.len()];
        assert!(self.read(&mut preface).await);
        self.send(settings(&[(setting::MAX_CONCURRENT_STREAMS, self.most as u32)]))
            .await;
    }

    /// Takes in one frame; `false` at the end of the connection.
    async fn turn(&mut self) -> bool {
        let mut head = [0; HEAD];
        if !self.read(&mut head).await {
            return false;
        }
        let head = FrameHead::parse(&head).unwrap();
        let mut payload = vec![0; head.length as usize];
        assert!(self.read(&mut payload).await);
        let is_end = head.stream > 0 && head.flags & flag::END_STREAM != 0;
        match head.kind {
            kind::HEADERS => {
                self.open.push((head.stream, Bytes::new()));
                assert!(self.open.len() <= self.most, "more calls than the peer takes");
            }
            kind::DATA => {
                let known = self.open.iter_mut().find(|(stream, _)| *stream == head.stream);
                known.unwrap().1 = payload.into();
            }
            kind::RST_STREAM => self.open.retain(|(stream, _)| *stream != head.stream),
            kind::SETTINGS if head.flags & flag::ACK == 0 => {
                self.send(frame(kind::SETTINGS, flag::ACK, 0, [])).await;
            }
            _ => {}
        }
        if is_end {
            let at = self.open.iter().position(|(stream, _)| *stream == head.stream);
            let (stream, body) = self.open.remove(at.unwrap());
            self.send(headers(0, stream, HEAD_OK)).await;
            self.send(data(flag::END_STREAM, stream, body)).await;
        }
        true
    }
}

/// A client, and the server that it talks to.
struct Pair {
    sender: client::Sender,
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    connection: JoinHandle<Result<(), Error>>,
    peer: JoinHandle<()>,
}

/// Connects the two; the server says that it goes after so many frames.
fn connect(most: usize, frames: usize) -> Pair {
    let budget = Budget::new(1 << 20);
    let config = Config {
        budget: Arc::clone(&budget),
        ..Config::default()
    };
    let (io, other) = duplex(1 << 16);
    let (sender, connection) = client::connect(other, config);
    let shared = connection.shared();
    let connection = spawn(connection);
    let mut peer = Peer {
        io,
        most,
        open: Vec::new(),
    };
    let peer = spawn(async move {
        peer.begin().await;
        for _ in 0..frames {
            if !peer.turn().await {
                return;
            }
        }
        peer.send(go_away(0, Reason::NO_ERROR)).await;
    });
    Pair {
        sender,
        shared,
        budget,
        connection,
        peer,
    }
}

impl Pair {
    /// A call, and what comes of it.
    fn call(&self, text: &'static str) -> JoinHandle<Result<(), Error>> {
        let sender = self.sender.clone();
        spawn(async move {
            let answer = sender.send(&mut client::Call::new(post(full(text)))).await?;
            let body = answer.into_body().collect().await?;
            assert_eq!(body.to_bytes(), text);
            Ok(())
        })
    }

    /// A call that is given up a moment after it began to wait: for its turn, or for its answer.
    fn impatient_call(&self, body: fn() -> Body) -> JoinHandle<()> {
        let sender = self.sender.clone();
        spawn(async move {
            let mut call = client::Call::new(post(body()));
            let mut sending = Box::pin(sender.send(&mut call));
            let first = std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_ready()));
            if !first.await {
                yield_now().await;
            }
        })
    }

    /// Lets go of the connection. Nothing of any call is left.
    async fn ends(self) {
        drop(self.sender);
        self.peer.await.unwrap();
        let _ = self.connection.await.unwrap();
        assert!(self.shared.is_closed());
        {
            let state = self.shared.lock();
            assert!(state.streams.is_empty() && state.senders == 0);
        }
        drop(self.shared);
        assert_eq!(self.budget.used(), 0);
    }
}

/// Calls wait in line for a peer that takes few at once. Whoever gives up, wherever it is, takes nobody's turn with it.
#[test]
fn every_call_gets_its_turn_whoever_gives_up() {
    for most in [1, 2] {
        explore(SCHEDULES, move || {
            let pair = connect(most, usize::MAX);
            let calls = ["a", "b"].map(|text| pair.call(text));
            let impatient = [pair.impatient_call(|| full("c")), pair.impatient_call(empty)];
            block_on(async move {
                for call in calls {
                    call.await.unwrap().unwrap();
                }
                for call in impatient {
                    call.await.unwrap();
                }
                pair.ends().await;
            });
        });
    }
}

/// A peer that goes ends the calls that it has not taken, those in line, too.
#[test]
fn nobody_waits_for_a_peer_that_has_gone() {
    for frames in [2, 4, 6] {
        explore(SCHEDULES, move || {
            let pair = connect(1, frames);
            let calls = ["a", "b", "c"].map(|text| pair.call(text));
            block_on(async move {
                for call in calls {
                    // Each is answered or hears of it.
                    let _ = call.await.unwrap();
                }
                pair.ends().await;
            });
        });
    }
}

/// Connections whose streams are taken away for lack of memory, while calls of both begin and end.
#[test]
fn relief_waits_for_nobody() {
    explore(SCHEDULES, || {
        let pairs = [connect(1, usize::MAX), connect(1, usize::MAX)];
        let calls: Vec<_> = pairs.iter().map(|pair| pair.call("a")).collect();
        let relieving = pairs.iter().map(|pair| {
            let (budget, shared) = (Arc::clone(&pair.budget), Arc::clone(&pairs[0].shared));
            budget.join(&shared);
            spawn(async move { budget.relieve() })
        });
        let relieving: Vec<_> = relieving.collect();
        block_on(async move {
            for call in calls {
                call.await.unwrap().unwrap();
            }
            for relieving in relieving {
                relieving.await.unwrap();
            }
            for pair in pairs {
                pair.ends().await;
            }
        });
    });
}
