//! Attempts of one call, of which the next begins before the one before is gone: connections let go of a body some time
//! after the call has.

use std::collections::VecDeque;

use http_body_util::BodyExt;
use schedules::explore;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use super::*;

const SCHEDULES: usize = 1000;
const PIECES: [&str; 4] = ["a", "b", "c", "d"];

/// A stream whose pieces come one by one, with pauses.
struct Slow {
    pieces: VecDeque<Bytes>,
    is_paused: bool,
}

impl Slow {
    fn body() -> Body {
        Body::stream(Self {
            pieces: PIECES.map(Bytes::from).into(),
            is_paused: false,
        })
    }
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.is_paused ^= true;
        if self.is_paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// Reads so many pieces of a body, as far as it goes on, and lets go of it some time later.
fn gives_up_after(mut body: Body, pieces: usize) -> JoinHandle<()> {
    spawn(async move {
        for _ in 0..pieces {
            if !matches!(body.frame().await, Some(Ok(_))) {
                break;
            }
        }
        yield_now().await;
    })
}

/// All of a body, one piece after the other; `None` if it breaks.
fn reads_all(mut body: Body) -> JoinHandle<Option<Vec<Bytes>>> {
    spawn(async move {
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            read.push(frame.ok()?.into_data().ok()?);
        }
        Some(read)
    })
}

/// However long the earlier attempts go on, the last one gets every piece, once and in order.
#[test]
fn the_last_attempt_gets_all_of_the_body() {
    for earlier in [[0, 1], [1, 3], [3, 1], [9, 9]] {
        explore(SCHEDULES / 4, move || {
            let replay = Replay::new(Slow::body(), 100);
            let earlier = earlier.map(|pieces| gives_up_after(replay.attempt(), pieces));
            let last = reads_all(replay.attempt());
            block_on(async {
                assert_eq!(last.await.unwrap(), Some(PIECES.map(Bytes::from).to_vec()));
                for attempt in earlier {
                    attempt.await.unwrap();
                }
            });
        });
    }
}

/// What went by without being kept is missed by nobody who does not hear of it.
#[test]
fn no_attempt_gets_a_part_for_the_whole() {
    for (bound, is_committed) in [(2, false), (100, true)] {
        explore(SCHEDULES / 2, move || {
            let replay = Replay::new(Slow::body(), bound);
            let first = gives_up_after(replay.attempt(), 9);
            let second = reads_all(replay.attempt());
            if is_committed {
                replay.commit();
            }
            block_on(async {
                if let Some(read) = second.await.unwrap() {
                    assert_eq!(read, PIECES.map(Bytes::from));
                }
                first.await.unwrap();
            });
        });
    }
}
