//! The bounds of a connection.

use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};

use crate::budget::Budget;
use crate::frame::{GREATEST_MAX_FRAME, GREATEST_WINDOW, LEAST_MAX_FRAME};

/// Pings that find out whether the peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// A ping goes out after so long without a byte from the peer.
    pub interval: Duration,
    /// How long its answer may take.
    pub patience: Duration,
    /// Whether connections without calls are asked too.
    pub while_idle: bool,
}

/// How much a server still takes of a request that nobody reads any more, once it has answered it.
///
/// A server may reset such a stream with `NO_ERROR` (RFC 9113, section 8.1), and clients are told to keep the answer.
/// Not all do: those that send their request to its end first take the reset for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// So many bytes more are taken, and thrown away. A request that is known to have more left is reset at once.
    pub bytes: u32,
    /// How long its end may take.
    pub time: Duration,
}

/// The bounds of a connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many bytes of one stream may be on the way unread, while memory is not scarce.
    pub stream_window: u32,
    /// How many bytes of all streams together may be on the way to this side. They may be unread for as long as they
    /// like: that is what `budget` bounds.
    pub connection_window: u32,
    /// What the streams of this connection and others may hold together.
    pub budget: Arc<Budget>,
    /// The longest header list that is accepted, in bytes as RFC 9113, section 6.5.2 counts them.
    pub max_header_list: u32,
    /// The longest frame that is accepted, 16 KiB to 16 MiB (section 4.2). A server allows it only to clients that use
    /// such frames: those that take longer ones than 16 KiB themselves, or have filled one of that length.
    pub max_frame: u32,
    /// How many bytes of one body wait here for the peer before the body is asked for no more.
    pub max_queued: usize,
    /// How many calls a client sends before the peer has told how many it takes.
    pub streams_before_settings: u32,
    /// How many calls of one client a server has at once. More are refused; clients are told the limit.
    pub max_streams: u32,
    /// What a server does with the rest of requests that it has answered; `None` resets their streams at once.
    pub linger: Option<Linger>,
    /// Pings, if there are to be any.
    pub keep_alive: Option<KeepAlive>,
    /// Where the requests of a client go whose URI does not say it.
    pub origin: Option<(Scheme, Authority)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window: 256 * 1024,
            connection_window: 16 * 1024 * 1024,
            budget: Arc::default(),
            max_header_list: 4 * 1024 * 1024,
            max_frame: 64 * 1024,
            max_queued: 128 * 1024,
            streams_before_settings: 1,
            max_streams: 10_000,
            linger: None,
            keep_alive: None,
            origin: None,
        }
    }
}

impl Config {
    /// The same within what the protocol allows.
    pub(crate) fn bounded(self) -> Self {
        let greatest = GREATEST_WINDOW as u32;
        Self {
            // A window can be twice as large for a while: when it grew by settings and by updates.
            stream_window: self.stream_window.clamp(1, greatest / 2),
            connection_window: self.connection_window.min(greatest),
            max_frame: self.max_frame.clamp(LEAST_MAX_FRAME, GREATEST_MAX_FRAME),
            max_queued: self.max_queued.max(1),
            ..self
        }
    }
}
