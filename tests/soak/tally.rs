//! What came of the calls, and what the sidecars hold.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As it should.
    Right,
    /// With an error that says so.
    Failed(String),
    /// With something else than was sent, or with an end that looks complete and is not.
    Wrong(String),
    /// Not at all.
    Hung(String),
}

/// All calls so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    right: AtomicU64,
    failed: AtomicU64,
    reasons: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<Vec<String>>,
    hung: Mutex<Vec<String>>,
}

impl Tally {
    pub(crate) fn note(&self, outcome: Outcome) {
        match outcome {
            Outcome::Right => {
                self.right.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Failed(why) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let mut reasons = self.reasons.lock().expect("nobody panics with it");
                // Addresses and ports make every text a new one.
                let why: String = why
                    .chars()
                    .map(|character| {
                        if character.is_ascii_digit() {
                            '0'
                        } else {
                            character
                        }
                    })
                    .collect();
                if reasons.len() < 100 || reasons.contains_key(&why) {
                    *reasons.entry(why).or_default() += 1;
                }
            }
            Outcome::Wrong(what) => {
                // At once: what else happened at that moment tells why.
                eprintln!("wrong: {what}");
                self.wrong.lock().expect("nobody panics with it").push(what);
            }
            Outcome::Hung(what) => self.hung.lock().expect("nobody panics with it").push(what),
        }
    }

    fn counts(&self) -> [u64; 4] {
        let len = |list: &Mutex<Vec<String>>| list.lock().expect("nobody panics with it").len() as u64;
        [
            self.right.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
            len(&self.wrong),
            len(&self.hung),
        ]
    }

    /// In short.
    pub(crate) fn line(&self) -> String {
        let [right, failed, wrong, hung] = self.counts();
        format!("{right} right, {failed} failed, {wrong} wrong, {hung} hung")
    }

    /// In full.
    pub(crate) fn report(&self) -> String {
        let mut report = self.line();
        for (why, count) in &*self.reasons.lock().expect("nobody panics with it") {
            let _ = write!(report, "\n  {count} x {why}");
        }
        report
    }

    /// What must not be.
    pub(crate) fn problems(&self, none_may_fail: bool) -> Vec<String> {
        let [right, failed, ..] = self.counts();
        let mut problems = Vec::new();
        for (kind, list) in [("wrong", &self.wrong), ("hung", &self.hung)] {
            let list = list.lock().expect("nobody panics with it");
            problems.extend(list.iter().take(10).map(|what| format!("{kind}: {what}")));
        }
        // Two of three instances are up at any time.
        if failed * 20 > right || (none_may_fail && failed > 0) {
            problems.push(format!("{failed} calls failed beside {right} that did not"));
        }
        problems
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// Open descriptors.
    pub(crate) files: usize,
}

impl Held {
    /// What a process holds now.
    pub(crate) fn by(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|size| size.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self {
            memory: kilobytes.expect("a resident size") * 1024,
            files,
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.memory as f64 / f64::from(1 << 20);
        write!(f, "{mebibytes:.1} MiB and {} descriptors", self.files)
    }
}
