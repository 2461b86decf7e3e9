//! Many callers on several threads and one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::duplex;
use tokio::sync::mpsc;

use crate::state::tests::NOTHING;
use crate::testing::{Body, post, soon, until};
use crate::{Config, client, server};

const CALLERS: usize = 64;
/// Enough calls, or enough time for a slow machine.
const CALLS: usize = 10_000;
const LONGEST: Duration = Duration::from_millis(2500);

/// A body that another thread sends. The channel of `http_body_util` may lose the last piece then: it asks for pieces
/// and for the end one after the other.
fn pieces() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async {
        let piece = receiver.recv().await?;
        Some((Ok(Frame::data(piece)), receiver))
    });
    (sender, StreamBody::new(Box::pin(frames)).boxed_unsync())
}

/// Sends pieces of a body, and reads the same from the answer.
async fn call(sender: &client::Sender, number: usize) {
    let (pieces, body) = pieces();
    let count = number % 5;
    let sending = tokio::spawn(async move {
        for n in 0..count {
            let piece = Bytes::from(vec![n as u8; (number * 37 + n * 999) % 3000]);
            if pieces.send(piece).await.is_err() {
                return;
            }
            if number.is_multiple_of(3) {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut call = client::Call::new(post(body));
    let answer = sender.send(&mut call);
    if number % 16 == 15 {
        // This one gives up, sooner or later.
        let _ = tokio::time::timeout(Duration::from_micros(number as u64 % 500), answer).await;
        return;
    }
    let body = soon(answer).await.unwrap().into_body();
    if number % 16 == 14 {
        return;
    }
    let body = soon(body.collect()).await.unwrap().to_bytes();
    let wanted: Vec<u8> = (0..count)
        .flat_map(|n| std::iter::repeat_n(n as u8, (number * 37 + n * 999) % 3000))
        .collect();
    assert!(
        body == wanted,
        "call {number}: {} of {} bytes",
        body.len(),
        wanted.len()
    );
    soon(sending).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_is_lost_among_many() {
    let config = Config {
        stream_window: 2000,
        connection_window: 100_000,
        max_queued: 1000,
        max_streams: 50,
        streams_before_settings: 50,
        ..Config::default()
    };
    let (near, far) = duplex(20_000);
    // What comes is sent back while it comes.
    let connection = server::serve(
        far,
        config.clone(),
        |request: http::Request<crate::RecvBody>| async {
            let body = request.into_body().map_err(crate::BoxError::from).boxed_unsync();
            http::Response::new(body) as http::Response<Body>
        },
    );
    let server = connection.shared();
    let served = tokio::spawn(connection);
    let (sender, connection) = client::connect(near, config);
    let client = connection.shared();
    let driven = tokio::spawn(connection);
    let (next, end) = (Arc::new(AtomicUsize::new(0)), Instant::now() + LONGEST);
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (next, sender) = (Arc::clone(&next), sender.clone());
            tokio::spawn(async move {
                while Instant::now() < end {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= CALLS {
                        break;
                    }
                    call(&sender, number).await;
                }
            })
        })
        .collect();
    for caller in callers {
        soon(caller).await.unwrap();
    }
    assert!(next.load(Relaxed) > CALLERS);
    until(|| client.lock().left() == NOTHING).await;
    until(|| server.lock().left() == NOTHING).await;
    let (windows, others) = (client.lock().windows(), server.lock().windows());
    assert_eq!(windows, (others.1, others.0));
    drop(sender);
    soon(driven).await.unwrap().unwrap();
    let _ = soon(served).await.unwrap();
}
