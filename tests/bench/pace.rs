//! The schedule of the open loop. A thread keeps it: the timers of the runtime are late by up to a millisecond, which
//! is more than a call takes.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// When the calls of one caller are due; ends when the time is over.
pub(crate) type Schedule = UnboundedReceiver<Instant>;

/// Deals `rate` evenly spaced calls a second out to so many callers in turn. They are told when a call is due, not
/// before.
pub(crate) fn start(
    callers: usize,
    rate: u64,
    begun: Instant,
    end: Instant,
) -> std::io::Result<Vec<Schedule>> {
    let (senders, schedules): (Vec<_>, Vec<_>) = (0..callers).map(|_| unbounded_channel()).unzip();
    // A rate beyond all clocks must not stop time.
    let between = Duration::from_secs(1)
        .div_f64(rate as f64)
        .max(Duration::from_nanos(1));
    thread::Builder::new().name("pace".to_owned()).spawn(move || {
        // Else the kernel rounds up by 50 µs.
        let _ = prctl::set_timerslack(1);
        let mut due = begun;
        for sender in senders.iter().cycle() {
            if due >= end {
                return;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A caller that failed calls no more.
            if sender.send(due).is_err() && senders.iter().all(UnboundedSender::is_closed) {
                return;
            }
            due += between;
        }
    })?;
    Ok(schedules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_are_due_in_turn_and_never_told_early() {
        let begun = Instant::now();
        let mut schedules = start(3, 2_000, begun, begun + Duration::from_millis(4)).expect("a thread");
        let mut dues = Vec::new();
        for turn in 0..8 {
            let due = schedules[turn % 3].recv().await.expect("a call");
            assert!(Instant::now() >= due);
            dues.push((due - begun).as_micros());
        }
        assert_eq!(dues, [0, 500, 1_000, 1_500, 2_000, 2_500, 3_000, 3_500]);
        for mut schedule in schedules {
            assert_eq!(schedule.recv().await, None);
        }
    }
}
