//! The figures of the table: what each is called.

use crate::options::Options;

/// A line of the table.
pub(crate) struct Figure {
    /// Its name in JSON.
    pub(crate) key: &'static str,
    pub(crate) group: Group,
    pub(crate) label: &'static str,
    pub(crate) decimals: usize,
}

/// Lines that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Closed,
    Open,
    Process,
    Other,
}

impl Group {
    /// What stands above them.
    pub(crate) fn heading(self, options: &Options) -> Option<String> {
        match self {
            Self::Closed => Some(format!("closed loop, {} calls at once", options.connections)),
            Self::Open => Some(format!("open loop, {} calls/s", options.rate)),
            Self::Process => Some("the process".to_owned()),
            Self::Other => None,
        }
    }
}

const fn figure(group: Group, key: &'static str, decimals: usize, label: &'static str) -> Figure {
    Figure {
        key,
        group,
        label,
        decimals,
    }
}

/// What is above the direct call, by key, and the figure that it is made of.
pub(crate) const ABOVE_DIRECT: [(&str, &str); 2] = [
    ("open_p50_above_direct_ms", "open_p50_ms"),
    ("open_p99_above_direct_ms", "open_p99_ms"),
];

/// Every figure, in the order of the table.
pub(crate) const FIGURES: &[Figure] = &[
    figure(Group::Closed, "closed_calls_per_second", 0, "calls/s"),
    figure(Group::Closed, "closed_p50_ms", 2, "p50, ms"),
    figure(Group::Closed, "closed_p90_ms", 2, "p90, ms"),
    figure(Group::Closed, "closed_p99_ms", 2, "p99, ms"),
    figure(Group::Closed, "closed_cpu_us", 1, "CPU µs/call and hop"),
    figure(Group::Closed, "closed_cpu_us_caller", 1, "CPU µs/call, caller's"),
    figure(Group::Closed, "closed_cpu_us_callee", 1, "CPU µs/call, callee's"),
    figure(Group::Closed, "closed_errors", 0, "errors"),
    figure(Group::Open, "open_calls_per_second", 0, "calls/s"),
    figure(Group::Open, "open_p50_ms", 2, "p50, ms"),
    figure(Group::Open, "open_p90_ms", 2, "p90, ms"),
    figure(Group::Open, "open_p99_ms", 2, "p99, ms"),
    figure(Group::Open, "open_p50_above_direct_ms", 2, "p50 above direct, ms"),
    figure(Group::Open, "open_p99_above_direct_ms", 2, "p99 above direct, ms"),
    figure(Group::Open, "open_cpu_us", 1, "CPU µs/call and hop"),
    figure(Group::Open, "open_cpu_us_caller", 1, "CPU µs/call, caller's"),
    figure(Group::Open, "open_cpu_us_callee", 1, "CPU µs/call, callee's"),
    figure(Group::Open, "open_errors", 0, "errors"),
    figure(Group::Process, "start_up_ms_caller", 1, "start-up, ms, caller's"),
    figure(Group::Process, "start_up_ms_callee", 1, "start-up, ms, callee's"),
    figure(
        Group::Process,
        "rss_idle_mib_caller",
        1,
        "RSS idle, MiB, caller's",
    ),
    figure(
        Group::Process,
        "rss_idle_mib_callee",
        1,
        "RSS idle, MiB, callee's",
    ),
    figure(
        Group::Process,
        "rss_loaded_mib_caller",
        1,
        "RSS loaded, MiB, caller's",
    ),
    figure(
        Group::Process,
        "rss_loaded_mib_callee",
        1,
        "RSS loaded, MiB, callee's",
    ),
    figure(
        Group::Process,
        "rss_resting_mib_caller",
        1,
        "RSS at rest, MiB, caller's",
    ),
    figure(
        Group::Process,
        "rss_resting_mib_callee",
        1,
        "RSS at rest, MiB, callee's",
    ),
    figure(Group::Other, "upload_mib_per_second", 0, "upload, MiB/s"),
    figure(
        Group::Other,
        "upload_growth_mib_caller",
        1,
        "upload, RSS growth, MiB, caller's",
    ),
    figure(
        Group::Other,
        "upload_growth_mib_callee",
        1,
        "upload, RSS growth, MiB, callee's",
    ),
    figure(Group::Other, "download_mib_per_second", 0, "download, MiB/s"),
    figure(
        Group::Other,
        "download_growth_mib_caller",
        1,
        "download, RSS growth, MiB, caller's",
    ),
    figure(
        Group::Other,
        "download_growth_mib_callee",
        1,
        "download, RSS growth, MiB, callee's",
    ),
    figure(
        Group::Other,
        "idle_mib_per_thousand_caller",
        1,
        "RSS MiB/1,000 connections, caller's",
    ),
    figure(
        Group::Other,
        "idle_mib_per_thousand_callee",
        1,
        "RSS MiB/1,000 connections, callee's",
    ),
    figure(Group::Other, "crowd_seconds", 1, "until all are answered, s"),
    figure(Group::Other, "crowd_at_once", 0, "at once in the app"),
    figure(Group::Other, "crowd_errors", 0, "errors"),
    figure(
        Group::Other,
        "crowd_growth_mib_caller",
        1,
        "RSS growth, MiB, caller's",
    ),
    figure(
        Group::Other,
        "crowd_growth_mib_callee",
        1,
        "RSS growth, MiB, callee's",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once() {
        let mut keys: Vec<_> = FIGURES.iter().map(|figure| figure.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), FIGURES.len());
        for (key, of) in ABOVE_DIRECT {
            assert!(keys.contains(&key) && keys.contains(&of));
        }
    }
}
