//! Whether the peer is still there.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Duration, Instant, Sleep, sleep};

use crate::config::KeepAlive;
use crate::error::Error;
use crate::frame::{self, kind};
use crate::state::Shared;

/// Asks the peer for a sign of life when it has been silent for long.
#[derive(Debug)]
pub(super) struct Alive {
    config: KeepAlive,
    heard: Instant,
    is_asked: bool,
    /// The timer went off, and nobody has asked since.
    has_ticked: bool,
    timer: Pin<Box<Sleep>>,
}

impl Alive {
    pub(super) fn new(mut config: KeepAlive) -> Self {
        // Without any pause the timer would never be done.
        config.interval = config.interval.max(Duration::from_millis(1));
        Self {
            config,
            heard: Instant::now(),
            is_asked: false,
            has_ticked: false,
            timer: Box::pin(sleep(config.interval)),
        }
    }

    /// The peer said something.
    pub(super) fn hears(&mut self) {
        self.heard = Instant::now();
        self.is_asked = false;
    }

    /// Nothing more is heard: the peer is given up if it does not take what is left to be written in time.
    pub(super) fn hears_no_more(&mut self) {
        self.is_asked = true;
        self.timer.as_mut().reset(Instant::now() + self.config.patience);
    }

    /// Whether the timer went off since this was asked last: now and then, a few times a minute.
    pub(super) fn take_tick(&mut self) -> bool {
        std::mem::take(&mut self.has_ticked)
    }

    /// Ready when the peer is given up.
    pub(super) fn poll(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<Error> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.is_asked {
                return Poll::Ready(Error::KeepAlive);
            }
            self.has_ticked = true;
            let now = Instant::now();
            // What came meanwhile put the ping off without a touch of the timer: busy connections would set it with
            // each read.
            let mut next = self.heard + self.config.interval;
            if next <= now {
                next = now + self.config.interval;
                let mut state = shared.lock();
                if self.config.while_idle || !state.streams.is_empty() {
                    frame::put(state.output.joined(), kind::PING, 0, 0, b"there?..");
                    self.is_asked = true;
                    next = now + self.config.patience;
                }
            }
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }
}
