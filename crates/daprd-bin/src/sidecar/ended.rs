//! Why a sidecar stops, and how it ended.

/// Why a sidecar stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    BySignal,
    ByApi,
    Restart,
    /// Something changed so that the sidecar cannot go on.
    ByFault,
    Force,
}

/// How a sidecar ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Gracefully,
    /// At once, because somebody asked for that.
    Forced,
    /// With a last word.
    Fatally(String),
    /// A second signal came while it stopped.
    BySignalDuringShutdown(String),
}
