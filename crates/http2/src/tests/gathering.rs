//! Writes that calls share.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::watch;

use crate::frame::{flag, kind};
use crate::testing::*;
use crate::{Config, client};

/// One end of a connection, and how often it was written to.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Opens so many streams whose callers all send a piece when they are told to, each from a task of its own. Returns
/// how many writes `rounds` rounds took.
async fn writes(streams: usize, rounds: usize) -> usize {
    let (io, other) = duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Counted {
        io: other,
        writes: Arc::clone(&writes),
    };
    let (sender, connection) = client::connect(counted, Config::default());
    tokio::spawn(connection);
    let mut peer = Peer { io };
    peer.preface().await;
    peer.send(settings(&[])).await;
    let (round, _) = watch::channel(0_usize);
    for _ in 0..streams {
        let (mut pieces, body) = pieces();
        let (sender, mut told) = (sender.clone(), round.subscribe());
        tokio::spawn(async move { sender.send(&mut client::Call::new(post(body))).await });
        tokio::spawn(async move {
            while told.changed().await.is_ok() {
                pieces.send_data(Bytes::from_static(b"piece")).await.unwrap();
            }
        });
    }
    for _ in 0..streams {
        let opened = peer.next(&[kind::HEADERS]).await;
        assert_eq!(opened.flags & flag::END_STREAM, 0);
    }
    peer.sync().await;
    let before = writes.load(Relaxed);
    for n in 1..=rounds {
        round.send_replace(n);
        for _ in 0..streams {
            assert_eq!(peer.next(&[kind::DATA]).await.payload, b"piece");
        }
    }
    writes.load(Relaxed) - before
}

/// One thread runs what was woken last first: without waiting for the others, each call would have a write of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_send_at_the_same_time_share_a_write() {
    let rounds = 50;
    let writes = tokio::spawn(writes(16, rounds)).await.unwrap();
    assert!(writes <= rounds * 16 / 4, "{writes} writes");
}

/// Nothing but the connection itself ends its waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_sends_alone_is_written() {
    let (io, other) = duplex(1 << 20);
    let (sender, connection) = client::connect(other, Config::default());
    tokio::spawn(connection);
    let mut peer = Peer { io };
    peer.preface().await;
    peer.send(settings(&[])).await;
    let mut callers = Vec::new();
    for _ in 0..8 {
        let (pieces, body) = pieces();
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(&mut client::Call::new(post(body))).await });
        callers.push(pieces);
        peer.next(&[kind::HEADERS]).await;
    }
    for n in 0..200 {
        soon(callers[n % 8].send_data(Bytes::from_static(b"alone")))
            .await
            .unwrap();
        assert_eq!(peer.next(&[kind::DATA]).await.payload, b"alone");
    }
}
