//! Lines between those who log and the thread that writes: a bound, and what goes when it is reached.
//!
//! Whoever reads the log may stop reading, and then the thread stands still in the middle of a write. Those who log
//! must not, because calls do. So lines are lost instead: what was logged for debugging first, then the oldest. Fatal
//! lines stay; there are few, since each of them ends the process.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many lines may wait, and how many bytes they may have together.
const MOST_LINES: usize = 8192;
const MOST_BYTES: usize = 4 << 20;
/// How much is written at once.
const BATCH: usize = 64 * 1024;

/// How much a line is worth when not all of them can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    Debug,
    Usual,
    Fatal,
}

/// The lines that wait. Shared by those who log and the thread that writes.
#[derive(Debug)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    /// There is something to write.
    more: Condvar,
    /// Something was written.
    written: Condvar,
    most_lines: usize,
    most_bytes: usize,
}

/// One queue for each worth, so that those that go first are found at once. The numbers tell the order of all.
#[derive(Debug, Default)]
struct Lines {
    debug: VecDeque<(u64, String)>,
    usual: VecDeque<(u64, String)>,
    fatal: VecDeque<(u64, String)>,
    next: u64,
    bytes: usize,
    /// How many went without being written since the last batch.
    lost: u64,
    /// The same since the beginning.
    all_lost: u64,
    /// How many batches were written.
    batches: u64,
    /// The thread waits for lines.
    is_idle: bool,
    /// It has taken some and writes them.
    is_writing: bool,
}

/// What is to be written next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// How many lines before these are lost.
    pub(super) lost: u64,
    pub(super) text: String,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(MOST_LINES, MOST_BYTES)
    }
}

impl Queue {
    fn new(most_lines: usize, most_bytes: usize) -> Self {
        Self {
            lines: Mutex::default(),
            more: Condvar::new(),
            written: Condvar::new(),
            most_lines,
            most_bytes,
        }
    }

    /// Puts a line at the end. Never waits for the writer.
    pub(super) fn push(&self, worth: Worth, line: String) {
        let mut lines = self.lock();
        lines.put(worth, line);
        while lines.count() > self.most_lines || lines.bytes > self.most_bytes {
            if !lines.lose_one() {
                break;
            }
        }
        let wakes = std::mem::take(&mut lines.is_idle);
        drop(lines);
        if wakes {
            self.more.notify_one();
        }
    }

    /// Waits for lines and takes them, as many as are written at once. What was taken before counts as written.
    pub(super) fn take(&self, into: &mut Batch) {
        into.text.clear();
        let mut lines = self.lock();
        lines.batches += 1;
        lines.is_writing = false;
        self.written.notify_all();
        while lines.count() == 0 {
            lines.is_idle = true;
            lines = self.more.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        lines.is_writing = true;
        into.lost = std::mem::take(&mut lines.lost);
        while into.text.len() < BATCH
            && let Some(line) = lines.take_first()
        {
            into.text.push_str(&line);
        }
    }

    /// Waits until everything logged so far is written, for as long as something is written every `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let mut lines = self.lock();
        while lines.count() > 0 || lines.is_writing {
            let before = lines.batches;
            let waited = self.written.wait_timeout(lines, patience);
            let (now, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            lines = now;
            if waited.timed_out() && lines.batches == before {
                return;
            }
        }
    }

    /// How many lines went without being written.
    pub(super) fn all_lost(&self) -> u64 {
        self.lock().all_lost
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn put(&mut self, worth: Worth, line: String) {
        self.bytes += line.len();
        let entry = (self.next, line);
        self.next += 1;
        match worth {
            Worth::Debug => &mut self.debug,
            Worth::Usual => &mut self.usual,
            Worth::Fatal => &mut self.fatal,
        }
        .push_back(entry);
    }

    fn count(&self) -> usize {
        self.debug.len() + self.usual.len() + self.fatal.len()
    }

    /// Throws away what is worth least; `false` if all that is left must stay.
    fn lose_one(&mut self) -> bool {
        let Some((_, line)) = self.debug.pop_front().or_else(|| self.usual.pop_front()) else {
            return false;
        };
        self.bytes -= line.len();
        self.lost += 1;
        self.all_lost += 1;
        true
    }

    /// The line that came first.
    fn take_first(&mut self) -> Option<String> {
        let number = |queue: &VecDeque<(u64, String)>| queue.front().map_or(u64::MAX, |(number, _)| *number);
        let queues = [&mut self.debug, &mut self.usual, &mut self.fatal];
        let (_, line) = queues
            .into_iter()
            .min_by_key(|queue| number(queue))?
            .pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(queue: &Queue) -> Batch {
        let mut batch = Batch::default();
        queue.take(&mut batch);
        batch
    }

    #[test]
    fn what_goes_when_there_is_too_much() {
        for (lines, wanted, lost) in [
            // As they came, whatever they are worth.
            ("u1 d2 f3 u4", "u1d2f3u4", 0),
            // Debug lines go first, the oldest of them before the others.
            ("d1 u2 d3 u4 u5", "u2d3u4u5", 1),
            ("u1 d2 u3 u4 u5 u6", "u3u4u5u6", 2),
            ("d1 d2 d3 d4 d5", "d2d3d4d5", 1),
            // Fatal ones stay, however many they are.
            ("f1 u2 u3 u4 u5 u6", "f1u4u5u6", 2),
            ("f1 f2 f3 f4 f5 f6", "f1f2f3f4f5f6", 0),
            ("f1 f2 f3 f4 u5", "f1f2f3f4", 1),
        ] {
            let queue = Queue::new(4, usize::MAX);
            for line in lines.split(' ') {
                let worth = match line.as_bytes()[0] {
                    b'd' => Worth::Debug,
                    b'u' => Worth::Usual,
                    _ => Worth::Fatal,
                };
                queue.push(worth, line.to_owned());
            }
            let text = wanted.to_owned();
            assert_eq!(batch(&queue), Batch { lost, text }, "{lines}");
        }
    }

    #[test]
    fn long_lines_count_for_their_length() {
        let queue = Queue::new(100, 10);
        for line in ["aaaa", "bbbb", "cccc", "an endless line"] {
            queue.push(Worth::Usual, line.to_owned());
        }
        assert_eq!(
            queue.lock().bytes,
            0,
            "the last one alone is longer than all may be"
        );
        queue.push(Worth::Fatal, "x".to_owned());
        let wanted = Batch {
            lost: 4,
            text: "x".to_owned(),
        };
        assert_eq!(batch(&queue), wanted);
        assert_eq!(queue.lock().lost, 0, "it is told once");
        assert_eq!(queue.all_lost(), 4);
    }

    #[test]
    fn a_batch_has_a_bound() {
        let queue = Queue::default();
        for _ in 0..3 {
            queue.push(Worth::Usual, "x".repeat(BATCH / 2));
        }
        assert_eq!(batch(&queue).text.len(), BATCH);
        assert_eq!(batch(&queue).text.len(), BATCH / 2);
    }
}
