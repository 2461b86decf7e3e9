//! What the command line gives.

use telemetry::log::Log;

use crate::flags::{Flags, Options, Settings};

/// What the command line gives, and the log that it set up.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) flags: &'a Flags,
    pub(super) options: &'a Options,
    pub(super) settings: &'a Settings,
    pub(super) log: &'a Log,
}
