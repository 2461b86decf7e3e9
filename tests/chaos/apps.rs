//! The apps that are called, and how they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use integration_tests::{Response, text};

/// How many instances the app has.
pub(crate) const COUNT: usize = 3;
/// How long the app takes for a call.
const WORK: Duration = Duration::from_millis(2);
const SLOW_WORK: Duration = Duration::from_millis(200);

/// How an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    Slow,
    Mute,
}

/// How each of them is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moods(Arc<[AtomicU8; COUNT]>);

impl Moods {
    pub(crate) fn set(&self, at: usize, mood: Mood) {
        self.0[at].store(mood as u8, Ordering::Relaxed);
    }

    /// What an app does with a call.
    pub(crate) async fn work(self, at: usize) -> Response {
        let mood = self.0[at].load(Ordering::Relaxed);
        if mood == Mood::Mute as u8 {
            std::future::pending::<()>().await;
        }
        let time = if mood == Mood::Slow as u8 { SLOW_WORK } else { WORK };
        tokio::time::sleep(time).await;
        text(200, "done")
    }
}
