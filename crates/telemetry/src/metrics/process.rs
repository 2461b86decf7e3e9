//! What the operating system knows of this process, from `/proc`. Elsewhere there is nothing to show.

use std::fs;

use super::{Family, Kind, Sample};

/// Clock ticks per second, the same on every Linux that we run on.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// The `process_*` families, by the names that Prometheus clients use.
pub(super) fn families() -> Vec<Family> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may have blanks; the fields begin after its parenthesis.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .map(|field| field.parse().unwrap_or(0.0))
                .collect()
        })
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).copied();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let (received, sent) = network();
    let family = |name, help, kind, value: Option<f64>| Family {
        name,
        help,
        kind,
        samples: value.map(|value| Sample::number("", value)).into_iter().collect(),
    };
    vec![
        // These two are what dashboards made for Dapr look for; what they mean here stands on the page about metrics.
        family(
            "go_goroutines",
            "Number of goroutines that currently exist.",
            Kind::Gauge,
            tokio::runtime::Handle::try_current()
                .ok()
                .map(|runtime| runtime.metrics().num_alive_tasks() as f64),
        ),
        family(
            "go_memstats_alloc_bytes",
            "Number of bytes allocated in heap and currently in use. Equals to /memory/classes/heap/objects:bytes.",
            Kind::Gauge,
            anonymous_memory(),
        ),
        family(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            Kind::Counter,
            field(14)
                .zip(field(15))
                .map(|(user, system)| (user + system) / TICKS),
        ),
        family(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            Kind::Gauge,
            limit(&limits, "Max open files"),
        ),
        family(
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
            Kind::Counter,
            received,
        ),
        family(
            "process_network_transmit_bytes_total",
            "Number of bytes sent by the process over the network.",
            Kind::Counter,
            sent,
        ),
        family(
            "process_open_fds",
            "Number of open file descriptors.",
            Kind::Gauge,
            fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count() as f64),
        ),
        family(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            Kind::Gauge,
            field(24).map(|pages| pages * PAGE),
        ),
        family(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            Kind::Gauge,
            field(22)
                .zip(boot_time())
                .map(|(ticks, boot)| boot + ticks / TICKS),
        ),
        family(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            Kind::Gauge,
            field(23),
        ),
        family(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            Kind::Gauge,
            limit(&limits, "Max address space"),
        ),
    ]
}

/// The soft limit of a line of `/proc/self/limits`.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// The memory that is resident and of no file: heap and stacks.
fn anonymous_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn network() -> (Option<f64>, Option<f64>) {
    let text = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return (None, None);
    };
    let of = |wanted: &str| {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs
            .find(|(name, _)| *name == wanted)
            .and_then(|(_, value)| value.parse().ok())
    };
    (of("InOctets"), of("OutOctets"))
}
