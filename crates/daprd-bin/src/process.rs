//! What the process needs of the operating system, and what it says when something in it breaks.

use rustix::process::{Resource, getrlimit, setrlimit};

const SCOPE: &str = "dapr.runtime";

/// Prepares the process for many connections, and for the case that something panics.
pub fn prepare() {
    say_panics();
    raise_open_files();
}

/// A panic ends the call in which it happens and no other. It is a bug, so the log has it where an operator looks.
fn say_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no text");
        let place = panic
            .location()
            .map_or_else(String::new, |place| format!(" at {place}"));
        tracing::error!(target: SCOPE, "internal error, one call or task ended: {text}{place}");
    }));
}

/// Every connection is a descriptor. The soft limit is meant for programs that use `select`; this one may have as
/// many as the hard limit allows, as every program of Go does.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(target: SCOPE, "the limit of open files stays as it is: {error}");
    }
}
