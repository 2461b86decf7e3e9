//! Requests that were answered before they ended.

use std::task::{Context, Waker};

use super::State;
use crate::frame;
use crate::stream::{Key, Upload, register};

/// What became of a request that was answered before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lingering {
    /// It has ended, or has used up what it was let have.
    Over,
    /// Somebody reads it: there is no hurry.
    Read,
    /// Nobody reads it.
    Unread,
}

impl State {
    /// Lets the client of an answered request send it to its end. Not if that has more left than is worth it.
    ///
    /// What is left of a request may be as much as its window, which is not granted anew when nobody reads; so the
    /// client must have at least the window that it needs.
    pub(crate) fn begin_lingering(&mut self, key: Key) -> bool {
        let Some(linger) = self.config.linger else {
            return false;
        };
        let Some(stream) = self.streams.get(key) else {
            return false;
        };
        let receiving = &mut stream.receiving;
        let most = u64::from(linger.bytes);
        let left = receiving.missing.unwrap_or(most);
        if stream.broken.is_some() || receiving.is_ended || receiving.upload != Upload::Plain || left > most {
            return false;
        }
        receiving.upload = Upload::Lingering;
        let more = left as i64 - receiving.window;
        if more > 0 {
            receiving.window += more;
            let id = stream.id;
            frame::put_window_update(self.output.joined(), id, more as u32);
            self.wants_turn = true;
        }
        true
    }

    /// What there is to wait for.
    pub(crate) fn lingers(&mut self, key: Key, cx: &Context<'_>) -> Lingering {
        let Some(stream) = self.streams.get(key) else {
            return Lingering::Over;
        };
        let receiving = &stream.receiving;
        // The end alone needs no window.
        let is_used_up = receiving.window <= 0 && receiving.missing != Some(0);
        if stream.is_over() || receiving.is_unwanted && is_used_up {
            return Lingering::Over;
        }
        let is_read = !receiving.is_unwanted;
        register(&mut stream.sending.waker, cx);
        if is_read {
            Lingering::Read
        } else {
            Lingering::Unread
        }
    }

    /// Something happened to the request of a stream.
    pub(super) fn wake_lingering(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && stream.receiving.upload == Upload::Lingering
        {
            stream.sending.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}
