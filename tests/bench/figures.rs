//! The figures of the table: what each is called and where it comes from.

use crate::extremes::Extremes;
use crate::measure::Round;

/// A line of the table.
pub(crate) struct Figure<T> {
    /// The heading under which it stands.
    pub(crate) section: Section,
    pub(crate) label: &'static str,
    /// Its name in JSON.
    pub(crate) key: &'static str,
    pub(crate) decimals: usize,
    /// Its value, when the chain has one.
    pub(crate) of: fn(&T) -> Option<f64>,
}

/// A heading of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Closed,
    Open,
    Process,
    LargeBody,
    Crowd,
}

const fn figure<T>(
    section: Section,
    label: &'static str,
    key: &'static str,
    decimals: usize,
    of: fn(&T) -> Option<f64>,
) -> Figure<T> {
    Figure {
        section,
        label,
        key,
        decimals,
        of,
    }
}

/// What every round measures.
pub(crate) const OF_ROUND: &[Figure<Round>] = &[
    figure(
        Section::Closed,
        "calls/s",
        "closed_calls_per_second",
        0,
        |round| Some(round.closed.per_second),
    ),
    figure(Section::Closed, "p50, ms", "closed_p50_ms", 2, |round| {
        Some(round.closed.p50)
    }),
    figure(Section::Closed, "p90, ms", "closed_p90_ms", 2, |round| {
        Some(round.closed.p90)
    }),
    figure(Section::Closed, "p99, ms", "closed_p99_ms", 2, |round| {
        Some(round.closed.p99)
    }),
    figure(
        Section::Closed,
        "CPU µs/call, caller's sidecar",
        "closed_cpu_us_caller",
        1,
        |round| round.cpu_closed.first().copied(),
    ),
    figure(
        Section::Closed,
        "CPU µs/call, callee's sidecar",
        "closed_cpu_us_callee",
        1,
        |round| round.cpu_closed.get(1).copied(),
    ),
    figure(Section::Closed, "errors", "closed_errors", 0, |round| {
        Some(round.closed.errors as f64)
    }),
    figure(Section::Open, "calls/s", "open_calls_per_second", 0, |round| {
        Some(round.open.per_second)
    }),
    figure(Section::Open, "p50, ms", "open_p50_ms", 2, |round| {
        Some(round.open.p50)
    }),
    figure(Section::Open, "p90, ms", "open_p90_ms", 2, |round| {
        Some(round.open.p90)
    }),
    figure(Section::Open, "p99, ms", "open_p99_ms", 2, |round| {
        Some(round.open.p99)
    }),
    figure(
        Section::Open,
        "CPU µs/call, caller's sidecar",
        "open_cpu_us_caller",
        1,
        |round| round.cpu_open.first().copied(),
    ),
    figure(
        Section::Open,
        "CPU µs/call, callee's sidecar",
        "open_cpu_us_callee",
        1,
        |round| round.cpu_open.get(1).copied(),
    ),
    figure(Section::Open, "errors", "open_errors", 0, |round| {
        Some(round.open.errors as f64)
    }),
    figure(
        Section::Process,
        "start-up, ms, caller's sidecar",
        "start_up_ms_caller",
        1,
        |round| round.start_up.first().copied(),
    ),
    figure(
        Section::Process,
        "start-up, ms, callee's sidecar",
        "start_up_ms_callee",
        1,
        |round| round.start_up.get(1).copied(),
    ),
    figure(
        Section::Process,
        "RSS idle, MiB, caller's sidecar",
        "rss_idle_mib_caller",
        1,
        |round| round.idle.first().copied(),
    ),
    figure(
        Section::Process,
        "RSS idle, MiB, callee's sidecar",
        "rss_idle_mib_callee",
        1,
        |round| round.idle.get(1).copied(),
    ),
    figure(
        Section::Process,
        "RSS loaded, MiB, caller's sidecar",
        "rss_loaded_mib_caller",
        1,
        |round| round.loaded.first().copied(),
    ),
    figure(
        Section::Process,
        "RSS loaded, MiB, callee's sidecar",
        "rss_loaded_mib_callee",
        1,
        |round| round.loaded.get(1).copied(),
    ),
];

/// What is measured once.
pub(crate) const OF_EXTREMES: &[Figure<Extremes>] = &[
    figure(
        Section::LargeBody,
        "upload, MiB/s",
        "upload_mib_per_second",
        0,
        |extremes| extremes.uploaded().map(|body| body.speed),
    ),
    figure(
        Section::LargeBody,
        "upload, RSS growth, MiB, caller's",
        "upload_growth_mib_caller",
        1,
        |extremes| extremes.uploaded()?.growth.first().copied(),
    ),
    figure(
        Section::LargeBody,
        "upload, RSS growth, MiB, callee's",
        "upload_growth_mib_callee",
        1,
        |extremes| extremes.uploaded()?.growth.get(1).copied(),
    ),
    figure(
        Section::LargeBody,
        "download, MiB/s",
        "download_mib_per_second",
        0,
        |extremes| extremes.downloaded().map(|body| body.speed),
    ),
    figure(
        Section::LargeBody,
        "download, RSS growth, MiB, caller's",
        "download_growth_mib_caller",
        1,
        |extremes| extremes.downloaded()?.growth.first().copied(),
    ),
    figure(
        Section::LargeBody,
        "download, RSS growth, MiB, callee's",
        "download_growth_mib_callee",
        1,
        |extremes| extremes.downloaded()?.growth.get(1).copied(),
    ),
    figure(
        Section::Crowd,
        "until all are answered, s",
        "crowd_seconds",
        1,
        |extremes| extremes.crowded().map(|crowd| crowd.seconds),
    ),
    figure(
        Section::Crowd,
        "at once in the app",
        "crowd_at_once",
        0,
        |extremes| extremes.crowded().map(|crowd| crowd.most as f64),
    ),
    figure(Section::Crowd, "errors", "crowd_errors", 0, |extremes| {
        extremes.crowded().map(|crowd| crowd.errors as f64)
    }),
    figure(
        Section::Crowd,
        "RSS growth, MiB, caller's sidecar",
        "crowd_growth_mib_caller",
        1,
        |extremes| extremes.crowded()?.growth.first().copied(),
    ),
    figure(
        Section::Crowd,
        "RSS growth, MiB, callee's sidecar",
        "crowd_growth_mib_callee",
        1,
        |extremes| extremes.crowded()?.growth.get(1).copied(),
    ),
];
