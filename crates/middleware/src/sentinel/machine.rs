//! What the system says of itself: its load, and what this process takes of it.
//!
//! It is asked by the call that comes when the last answer is old, which takes some microseconds once a second. Where it does
//! not say (Linux does), there is no answer, and rules that need one let calls pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use super::clock::Moment;

/// How long answers are good, in milliseconds.
const OLD: u64 = 1000;
/// Memory changes sooner.
const MEMORY_OLD: u64 = 150;
/// Linux counts the time of processors in hundredths of a second.
const TICKS: f64 = 100.0;

/// The answers that were given last.
#[derive(Debug)]
pub(super) struct Machine {
    load: Answer,
    processor: Answer,
    memory: Answer,
    /// The time that this process had of the processors when it was looked at, and when that was.
    ticks: AtomicU64,
    looked: AtomicU64,
}

#[derive(Debug)]
struct Answer {
    /// When it is old.
    until: AtomicU64,
    /// A number; that which is none says that there is no answer.
    value: AtomicU64,
}

impl Answer {
    fn new() -> Self {
        Self {
            until: AtomicU64::new(0),
            value: AtomicU64::new(f64::NAN.to_bits()),
        }
    }

    fn get(&self, now: Moment, good_for: u64, ask: impl FnOnce() -> Option<f64>) -> Option<f64> {
        let (now, until) = (now.millis(), self.until.load(Ordering::Relaxed));
        let is_mine = || {
            self.until
                .compare_exchange(until, now + good_for, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if now >= until && is_mine() {
            let value = ask().unwrap_or(f64::NAN);
            self.value.store(value.to_bits(), Ordering::Relaxed);
        }
        let value = f64::from_bits(self.value.load(Ordering::Relaxed));
        (!value.is_nan()).then_some(value)
    }
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            load: Answer::new(),
            processor: Answer::new(),
            memory: Answer::new(),
            ticks: AtomicU64::new(0),
            looked: AtomicU64::new(0),
        }
    }

    /// How many threads ran or waited to, as an average of a minute.
    pub(super) fn load(&self, now: Moment) -> Option<f64> {
        self.load.get(now, OLD, || {
            let text = std::fs::read_to_string("/proc/loadavg").ok()?;
            text.split(' ').next()?.parse().ok()
        })
    }

    /// How much this process took of the processors that it may use, from 0 to 1. Nothing at first.
    pub(super) fn processor(&self, now: Moment) -> Option<f64> {
        self.processor.get(now, OLD, || {
            let ticks = ticks(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
            let looked = self.looked.swap(now.millis(), Ordering::Relaxed);
            let before = self.ticks.swap(ticks, Ordering::Relaxed);
            let elapsed = now.millis().saturating_sub(looked) as f64 / 1000.0;
            if looked == 0 || elapsed == 0.0 {
                return Some(0.0);
            }
            let processors = available_parallelism().map_or(1, usize::from) as f64;
            Some(ticks.saturating_sub(before) as f64 / TICKS / elapsed / processors)
        })
    }

    /// How much memory this process has, in bytes.
    pub(super) fn memory(&self, now: Moment) -> Option<f64> {
        self.memory.get(now, MEMORY_OLD, || {
            kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
        })
    }

    /// How much memory there is, in bytes.
    #[allow(clippy::unused_self, reason = "it is the machine that is asked")]
    pub(super) fn total_memory(&self) -> Option<f64> {
        kilobytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
    }

    #[cfg(test)]
    pub(super) fn pretend_memory(&self, bytes: u32) {
        pretend(&self.memory, bytes.into());
    }

    #[cfg(test)]
    pub(super) fn pretend_load_and_processor(&self, load: f64, processor: f64) {
        pretend(&self.load, load);
        pretend(&self.processor, processor);
    }
}

#[cfg(test)]
fn pretend(answer: &Answer, value: f64) {
    answer.until.store(u64::MAX, Ordering::Relaxed);
    answer.value.store(value.to_bits(), Ordering::Relaxed);
}

/// The ticks of a process, in its own time and in that of the kernel. Its name may have spaces and brackets in it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

/// A line of `name`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a"), None);
        assert_eq!(
            kilobytes("Name:\tx\nVmRSS:\t    12 kB\n", "VmRSS:"),
            Some(12_288.0)
        );
        assert_eq!(kilobytes("VmRSS: much", "VmRSS:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_answers() {
        let machine = Machine::new();
        let at = |millis: u64| Moment(millis * 1_000_000);
        assert!(machine.load(at(1000)).is_some());
        assert_eq!(machine.processor(at(1000)), Some(0.0));
        let memory = machine.memory(at(1000)).unwrap();
        assert!(memory > 0.0 && memory < machine.total_memory().unwrap());
        assert!(machine.processor(at(3000)).is_some_and(|share| share >= 0.0));
    }

    #[test]
    fn an_answer_is_good_for_a_while() {
        let answer = Answer::new();
        let at = |millis: u64| Moment(millis * 1_000_000);
        for (now, given, wanted) in [
            (5, Some(1.0), Some(1.0)),
            (100, Some(2.0), Some(1.0)),
            (1005, Some(2.0), Some(2.0)),
            (3000, None, None),
        ] {
            assert_eq!(answer.get(at(now), 1000, || given), wanted, "{now}");
        }
    }
}
