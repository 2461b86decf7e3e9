//! What the command line gives.

use telemetry::log::Log;

use crate::flags::{Flags, Options, Settings};

/// What the command line gives, and the log that it set up.
#[derive(Clone, Copy)]
pub(super) struct CommandLine<'a> {
    pub(super) flags: &'a Flags,
    pub(super) options: &'a Options,
    pub(super) settings: &'a Settings,
    pub(super) log: &'a Log,
}

/// The same for tasks, which outlive whoever starts them.
pub(super) struct OwnedCommandLine {
    pub(super) flags: Flags,
    pub(super) options: Options,
    pub(super) settings: Settings,
    pub(super) log: Log,
}

impl CommandLine<'_> {
    pub(super) fn owned(&self) -> OwnedCommandLine {
        OwnedCommandLine {
            flags: self.flags.clone(),
            options: self.options.clone(),
            settings: self.settings.clone(),
            log: self.log.clone(),
        }
    }
}

impl OwnedCommandLine {
    pub(super) fn given(&self) -> CommandLine<'_> {
        CommandLine {
            flags: &self.flags,
            options: &self.options,
            settings: &self.settings,
            log: &self.log,
        }
    }
}
