//! What is counted, for the metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Why a certificate was not renewed, as Dapr's metric names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Sentry cannot be reached.
    Connection,
    /// The token cannot be had.
    Token,
    /// Sentry does not sign, or signs rubbish.
    Sign,
    /// The date of the answer cannot be.
    Timestamp,
    /// The JWT cannot be read.
    JwtParse,
    /// The JWT is for somebody else.
    JwtAudience,
}

impl Failed {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Connection,
        Self::Token,
        Self::Sign,
        Self::Timestamp,
        Self::JwtParse,
        Self::JwtAudience,
    ];

    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connection => "sentry_conn",
            Self::Token => "sentry_token",
            Self::Sign => "sign",
            Self::Timestamp => "invalid_ts",
            Self::JwtParse => "jwt_parse",
            Self::JwtAudience => "jwt_aud",
        }
    }
}

/// What happened to the certificate of a sidecar.
#[derive(Debug, Default)]
pub struct Counters {
    rotated: AtomicU64,
    failed: [AtomicU64; Failed::ALL.len()],
    expires: AtomicI64,
}

impl Counters {
    pub(crate) fn renewed(&self) {
        self.rotated.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failure(&self, why: Failed) {
        if let Some(count) = self.failed.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn expires_at(&self, seconds: i64) {
        self.expires.store(seconds, Ordering::Relaxed);
    }

    /// How often the certificate was replaced.
    pub fn rotated(&self) -> u64 {
        self.rotated.load(Ordering::Relaxed)
    }

    /// How often it could not be, for this reason.
    pub fn failed(&self, why: Failed) -> u64 {
        let count = self.failed.get(why as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// When the certificate expires, in seconds since 1970.
    pub fn expiry(&self) -> i64 {
        self.expires.load(Ordering::Relaxed)
    }
}
