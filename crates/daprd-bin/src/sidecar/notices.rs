//! What of the configuration and the flags has no effect.

use resources::Configuration;

use crate::flags::Flags;
use crate::scope::SCOPE;

/// Says plainly which parts of the configuration have no effect yet.
pub(super) fn say_what_is_not_there(flags: &Flags, configuration: &Configuration) {
    let not_there = |what: &str| {
        tracing::warn!(target: SCOPE, "{what} is not supported by this version of daprd-rs and has no effect");
    };
    if !configuration.http_pipeline.handlers.is_empty()
        || !configuration.app_http_pipeline.handlers.is_empty()
    {
        not_there("middleware of the configuration");
    }
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
