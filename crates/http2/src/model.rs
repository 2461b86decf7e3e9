//! A client and a server, their tasks and their calls, in many orders. A call that nobody wakes is a deadlock of the model.
//!
//! Heads and bodies are at hand, so that nothing of a connection needs a runtime besides the model.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::BodyExt;
use schedules::explore;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::sync::mpsc;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Duration, Instant};

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
    /// If there is one, the peer goes when it has a first call whole, and answers that call when it hears from here.
    leave: Option<mpsc::Receiver<()>>,
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
            if let Some(leave) = self.leave.take() {
                self.send(go_away(stream, Reason::NO_ERROR)).await;
                leave.recv().unwrap();
            }
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
    connection: JoinHandle<Result<(), Error>>,
    peer: JoinHandle<()>,
}

/// Connects the two; the server says that it goes, and is gone, after so many frames.
fn connect(most: usize, frames: usize) -> Pair {
    connect_with(most, frames, Budget::new(1 << 20), None)
}

fn connect_with(most: usize, frames: usize, budget: Arc<Budget>, leave: Option<mpsc::Receiver<()>>) -> Pair {
    let config = Config {
        budget,
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
        leave,
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
            assert_eq!(state.held(), 0, "what a stream counted for is not given back");
        }
        drop(self.shared);
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

/// A peer that goes answers the call that it has. Those in line hear that it goes before that call is over.
#[test]
fn nobody_in_line_waits_for_the_last_call_of_a_peer_that_goes() {
    explore(SCHEDULES, || {
        let (answer, leave) = mpsc::channel();
        let pair = connect_with(1, usize::MAX, Budget::new(1 << 20), Some(leave));
        let (ended, ends) = mpsc::channel();
        let calls = ["a", "b", "c"].map(|text| {
            let (call, ended) = (pair.call(text), ended.clone());
            spawn(async move { ended.send(call.await.unwrap().is_ok()).unwrap() })
        });
        block_on(async move {
            assert!(
                !ends.recv().unwrap() && !ends.recv().unwrap(),
                "the peer takes one"
            );
            answer.send(()).unwrap();
            assert!(ends.recv().unwrap(), "the call that it took is answered");
            for call in calls {
                call.await.unwrap();
            }
            pair.ends().await;
        });
    });
}

/// A peer that takes no call, and is gone without a word. Those in line have no stream that could tell them.
#[test]
fn nobody_in_line_waits_for_a_peer_that_vanished() {
    explore(SCHEDULES, || {
        let (io, other) = duplex(1 << 16);
        let (sender, connection) = client::connect(other, Config::default());
        let connection = spawn(connection);
        let calls = ["a", "b"].map(|text| {
            let sender = sender.clone();
            spawn(async move {
                sender
                    .send(&mut client::Call::new(post(full(text))))
                    .await
                    .is_ok()
            })
        });
        block_on(async move {
            let mut peer = Peer {
                io,
                most: 0,
                open: Vec::new(),
                leave: None,
            };
            peer.begin().await;
            peer.turn().await;
            drop(peer);
            for call in calls {
                assert!(!call.await.unwrap());
            }
            let _ = connection.await.unwrap();
        });
    });
}

/// Connections that share a budget, all of which is used: their streams are taken away while calls begin and end. A call ends
/// with its answer or hears that it was reset, and gives back what it counted for.
#[test]
fn relief_waits_for_nobody() {
    explore(SCHEDULES, || {
        let budget = Budget::new(1024);
        let pairs = [0; 2].map(|_| connect_with(1, usize::MAX, Arc::clone(&budget), None));
        let calls: Vec<_> = pairs
            .iter()
            .flat_map(|pair| ["a", "b"].map(|text| pair.call(text)))
            .collect();
        let relieving = pairs.iter().map(|pair| {
            let (budget, shared) = (Arc::clone(&budget), Arc::clone(&pair.shared));
            spawn(async move {
                for _ in 0..3 {
                    budget.relieve();
                    // The clock of a model stands still: as if nothing had moved for long.
                    let later = Instant::now() + Duration::from_secs(60);
                    shared.with(|state| state.shed(usize::MAX, later));
                    yield_now().await;
                }
            })
        });
        let relieving: Vec<_> = relieving.collect();
        block_on(async move {
            for call in calls {
                if let Err(error) = call.await.unwrap() {
                    assert!(error.to_string().contains("ENHANCE_YOUR_CALM"), "{error}");
                }
            }
            for relieving in relieving {
                relieving.await.unwrap();
            }
            for pair in pairs {
                pair.ends().await;
            }
            assert_eq!(budget.used(), 0);
        });
    });
}
