//! What the kernel tells about processes and about the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A process and all that descend from it: some proxies do their work in children.
fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut at = 0;
    while let Some(pid) = pids.get(at) {
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        pids.extend(
            children
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        at += 1;
    }
    pids
}

/// The CPU time of a process and its children so far, in and for user code.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    tree(pid).into_iter().map(own_cpu_time).sum()
}

/// What the CPU clock of the process shows: `/proc` has hundredths of a second, too coarse for a short load.
fn own_cpu_time(pid: u32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into().ok()?)).ok()?;
    Some(clock.now().ok()?.into())
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// The resident memory of a process and its children.
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    let of_each = tree(pid).into_iter().map(own_memory);
    let sum = |sum: Memory, one: Option<Memory>| {
        one.map(|one| Memory {
            now: sum.now + one.now,
            peak: sum.peak + one.peak,
        })
    };
    of_each.into_iter().try_fold(Memory { now: 0, peak: 0 }, sum)
}

fn own_memory(pid: u32) -> Option<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory {
        now: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
    })
}

/// Lets this process and what it starts have as many open files as it may. Returns how many.
pub(crate) fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    }
}

/// The machine in lines: processor, kernel.
pub(crate) fn machine() -> Vec<(String, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok())
        .map_or("?".to_owned(), |kibibytes| {
            format!("{:.1} GiB", kibibytes / 1024.0 / 1024.0)
        });
    vec![
        ("processor".to_owned(), format!("{model}, {cores} cores")),
        ("memory".to_owned(), memory),
        ("kernel".to_owned(), kernel.trim().to_owned()),
    ]
}

/// What a program says about its version, and its size.
pub(crate) fn describe(binary: &Path, version: &str) -> String {
    let size = std::fs::metadata(binary).map_or(0, |metadata| metadata.len());
    // Some say where they are, which is nobody's business.
    let version = first_line(Command::new(binary).arg(version))
        .replace(&binary.display().to_string(), "")
        .trim()
        .to_owned();
    format!("{version}, {:.1} MiB", size as f64 / 1024.0 / 1024.0)
}

/// The first line that a program prints; some print their version as an error.
pub(crate) fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return "unknown".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("unknown").to_owned()
}

/// The program of this name on `PATH` or in a folder for the administrator's programs.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_cpu_time() {
        let this = std::process::id();
        assert!(memory(this).is_some_and(|memory| memory.now > 0 && memory.peak > 0));
        let before = cpu_time(this);
        std::hint::black_box((0..1_000_000).map(std::hint::black_box).sum::<u64>());
        assert!(before.is_some() && cpu_time(this) > before);
    }
}
