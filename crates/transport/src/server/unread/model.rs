//! A request that is answered before its end, in many orders: a handler that answers and lets go of the body somewhere, and a
//! connection that reads what is left. A connection that nobody wakes is a deadlock of the model.

use std::convert::Infallible;
use std::future::poll_fn;

use schedules::explore;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use super::*;

const SCHEDULES: usize = 500;
const PIECES: u8 = 2;

/// A body that comes piece by piece, with pauses.
#[derive(Debug)]
struct Slow {
    left: u8,
    is_paused: bool,
    watch: Arc<Watch<Slow>>,
}

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_paused ^= true;
        if self.is_paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        // What comes goes by on the connection.
        self.watch.beyond.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.into())
    }
}

fn watched() -> (Arc<Watch<Slow>>, Slow) {
    let watch = Watch::<Slow>::new();
    watch.begin(Some(PIECES.into()));
    let body = Slow {
        left: PIECES,
        is_paused: false,
        watch: Arc::clone(&watch),
    };
    (watch, body)
}

/// The answer is over, which it is in the task of the connection.
fn end(watch: &Watch<Slow>) {
    watch.finish();
    watch.unread.waker.wake();
}

/// Reads what is left until both halves of the call are over, as the task of a connection does it.
async fn until_idle(watch: &Arc<Watch<Slow>>) {
    poll_fn(|cx| {
        let _ = watch.unread.poll_read(watch, cx);
        if watch.phase.load(Ordering::SeqCst) == super::super::watch::IDLE {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// The task of a connection, which ends when the next head may be read.
fn connection(watch: &Arc<Watch<Slow>>) -> JoinHandle<()> {
    let watch = Arc::clone(watch);
    spawn(async move { until_idle(&watch).await })
}

/// All who have to do with a request come to their end.
fn all_end(tasks: [JoinHandle<()>; 3]) {
    block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// However much of a body was read and wherever it was dropped: the connection reads its rest, and goes on behind it.
#[test]
fn the_rest_of_a_request_is_read() {
    for frames in 0..=PIECES {
        explore(SCHEDULES, move || {
            let (watch, body) = watched();
            let mut body = Http1Body::new(body, &watch);
            let read = Arc::clone(&watch);
            let reader = spawn(async move {
                for _ in 0..frames {
                    let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                    assert!(frame.is_some_and(|frame| frame.is_ok()));
                }
                yield_now().await;
                drop(body);
                if frames == PIECES {
                    // Whoever hands out the end of a body is the connection itself.
                    read.unread.waker.wake();
                }
            });
            let answered = Arc::clone(&watch);
            let handler = spawn(async move {
                let ends = answered.unread.ends_connection(&answered, false).await;
                assert!(!ends, "the rest is small");
                end(&answered);
            });
            all_end([reader, handler, connection(&watch)]);
            assert!(
                watch.is_between_calls(),
                "the next head does not begin where reading stands"
            );
        });
    }
}

/// The answer says that the connection closes, while the body is dropped somewhere and the connection reads: the request is
/// over once.
#[test]
fn a_rest_that_is_given_up_is_over_once() {
    explore(SCHEDULES, || {
        let (watch, body) = watched();
        let body = Http1Body::new(body, &watch);
        let reader = spawn(async move {
            yield_now().await;
            drop(body);
        });
        let answered = Arc::clone(&watch);
        let handler = spawn(async move {
            answered.unread.give_up(&answered);
            end(&answered);
        });
        all_end([reader, handler, connection(&watch)]);
        assert_eq!(watch.halves.load(Ordering::SeqCst), 0);
    });
}
