//! What ends a call or a connection early.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// An error code of HTTP/2 (RFC 9113, section 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(u32);

macro_rules! reasons {
    ($($name:ident = $code:literal),* $(,)?) => {
        impl Reason {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = Self($code);
            )*

            fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    NO_ERROR = 0,
    PROTOCOL_ERROR = 1,
    INTERNAL_ERROR = 2,
    FLOW_CONTROL_ERROR = 3,
    SETTINGS_TIMEOUT = 4,
    STREAM_CLOSED = 5,
    FRAME_SIZE_ERROR = 6,
    REFUSED_STREAM = 7,
    CANCEL = 8,
    COMPRESSION_ERROR = 9,
    CONNECT_ERROR = 10,
    ENHANCE_YOUR_CALM = 11,
    INADEQUATE_SECURITY = 12,
    HTTP_1_1_REQUIRED = 13,
}

impl From<u32> for Reason {
    fn from(code: u32) -> Self {
        Self(code)
    }
}

impl From<Reason> for u32 {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who ended something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The other side.
    Peer,
    /// This side.
    Us,
}

/// Why a call or a connection ended early.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The stream of the call was reset.
    Reset {
        /// With this code.
        reason: Reason,
        /// By whom.
        by: Side,
    },
    /// The connection is ended with GOAWAY, and by the peer's it never took this call; ours says what the peer did
    /// wrong.
    GoAway {
        /// With this code.
        reason: Reason,
        /// By whom.
        by: Side,
    },
    /// The socket failed.
    Io(Arc<io::Error>),
    /// The peer did not answer a ping in time.
    KeepAlive,
    /// The connection ended.
    Closed,
    /// The body that was being sent failed.
    Body(Arc<dyn StdError + Send + Sync>),
}

impl Error {
    /// Whether the peer certainly did nothing for the call: it refused the stream, or went away without having
    /// taken it (RFC 9113, sections 6.8 and 8.7).
    pub fn is_unseen(&self) -> bool {
        match self {
            Self::Reset { reason, by } => *by == Side::Peer && *reason == Reason::REFUSED_STREAM,
            Self::GoAway { by, .. } => *by == Side::Peer,
            _ => false,
        }
    }

    /// The code with which the stream was reset.
    pub fn reset_reason(&self) -> Option<Reason> {
        match self {
            Self::Reset { reason, .. } => Some(*reason),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset {
                reason,
                by: Side::Peer,
            } => write!(f, "stream reset by the peer: {reason}"),
            Self::Reset { reason, by: Side::Us } => write!(f, "stream reset: {reason}"),
            Self::GoAway {
                reason,
                by: Side::Peer,
            } => write!(f, "connection ended by the peer: {reason}"),
            Self::GoAway { reason, by: Side::Us } => write!(f, "connection broke the protocol: {reason}"),
            Self::Io(error) => write!(f, "{error}"),
            Self::KeepAlive => f.write_str("keep-alive ping was not answered in time"),
            Self::Closed => f.write_str("connection closed"),
            Self::Body(error) => write!(f, "{error}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io(error) => Some(&**error),
            Self::Body(error) => Some(&**error),
            _ => None,
        }
    }
}

/// The code with which the stream of a body that failed is reset: that of the reset which broke it, wherever that came
/// from.
pub(crate) fn reset_reason_of(error: &(dyn StdError + 'static)) -> Reason {
    std::iter::successors(Some(error), |error| (*error).source())
        .find_map(|cause| cause.downcast_ref::<Error>()?.reset_reason())
        .unwrap_or(Reason::INTERNAL_ERROR)
}
