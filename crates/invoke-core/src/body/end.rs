//! How a body ended, and who wants to know.

use super::BodyError;
use crate::balance::InFlight;

/// How a body ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// All of it was handed out.
    Whole,
    /// It broke.
    Failed(&'a BodyError),
    /// Nobody wanted the rest.
    Dropped,
}

/// Told how a body ended, and how many bytes it handed out.
pub type OnEnd = Box<dyn FnOnce(End<'_>, u64) + Send>;

/// One who wants to know.
pub(super) enum Hook {
    /// The count of an endpoint, which goes down. Nearly every call has this one, so it is not boxed.
    InFlight(InFlight),
    Told(OnEnd),
}

/// All of them, in the order in which they came.
#[derive(Default)]
pub(super) struct Hooks {
    /// There is hardly ever more than one.
    first: Option<Hook>,
    others: Vec<Hook>,
}

impl Hooks {
    pub(super) fn push(&mut self, hook: Hook) {
        if self.first.is_none() {
            self.first = Some(hook);
        } else {
            self.others.push(hook);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Tells everybody, once.
    pub(super) fn tell(&mut self, end: End<'_>, bytes: u64) {
        if self.is_empty() {
            return;
        }
        for hook in self.first.take().into_iter().chain(self.others.drain(..)) {
            match hook {
                Hook::InFlight(in_flight) => drop(in_flight),
                Hook::Told(told) => told(end, bytes),
            }
        }
    }
}
