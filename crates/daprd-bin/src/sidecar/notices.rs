//! What of the flags has no effect.

use crate::flags::Flags;

/// Says plainly which of the flags have no effect.
pub(super) fn say_what_is_not_there(flags: &Flags) {
    if flags
        .text("placement-host-address")
        .trim()
        .trim_matches(['"', '\''])
        .trim()
        .is_empty()
    {
        tracing::warn!(
            target: "dapr.runtime.actor",
            "Actor runtime disabled: api error: code = Unavailable desc = placement service is not configured. Actors and \
             Workflow APIs will be unavailable"
        );
    }
    let schedulers = flags.list("scheduler-host-address");
    if schedulers
        .iter()
        .all(|address| address.trim().trim_matches(['"', '\'']).trim().is_empty())
    {
        tracing::warn!(
            target: "dapr.runtime.scheduler.watchhosts",
            "No scheduler host addresses provided. Scheduler disabled"
        );
    }
}
