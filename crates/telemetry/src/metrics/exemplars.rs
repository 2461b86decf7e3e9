//! Exemplars: for each bucket of a histogram of latencies, the recorded span that fell into it last.
//!
//! They are for those who see that some calls were slow and want to look at one of them. Only calls whose trace is recorded
//! leave one, and only where that is wanted; no other call comes by here.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use invoke_core::trace::TraceContext;

/// A span that fell into a bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Which bucket of its distribution, from 0 on.
    pub bucket: usize,
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span in it.
    pub span_id: [u8; 8],
    /// The value, in the unit in which the histogram is shown.
    pub value: f64,
    /// When it was counted.
    pub at: SystemTime,
}

/// The exemplars of a histogram. Buckets that no recorded call ever fell into take no room.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<Vec<Exemplar>>);

impl Exemplars {
    /// Keeps what fell into a bucket in place of what did before. Calls never wait for each other, or for a scraper: when
    /// somebody else is at it, this one is not kept, since another is as good.
    pub(super) fn keep(&self, bucket: usize, value: f64, span: &TraceContext) {
        let Ok(mut kept) = self.0.try_lock() else { return };
        let exemplar = Exemplar {
            bucket,
            trace_id: span.trace_id,
            span_id: span.span_id,
            value,
            at: SystemTime::now(),
        };
        match kept.iter_mut().find(|known| known.bucket == bucket) {
            Some(known) => *known = exemplar,
            None => kept.push(exemplar),
        }
    }

    /// In the order of the buckets.
    pub(super) fn all(&self) -> Vec<Exemplar> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_unstable_by_key(|exemplar| exemplar.bucket);
        all
    }
}

/// Of two histograms that are shown as one, the later exemplar of each bucket.
pub(super) fn join(ours: &mut Vec<Exemplar>, others: &[Exemplar]) {
    for other in others {
        match ours.iter_mut().find(|known| known.bucket == other.bucket) {
            Some(known) if known.at < other.at => *known = other.clone(),
            Some(_) => {}
            None => ours.push(other.clone()),
        }
    }
    ours.sort_unstable_by_key(|exemplar| exemplar.bucket);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn span(id: u8) -> TraceContext {
        TraceContext {
            trace_id: [id; 16],
            span_id: [id; 8],
            flags: 1,
        }
    }

    #[test]
    fn the_last_of_each_bucket_is_kept() {
        let exemplars = Exemplars::default();
        for (bucket, value, id) in [(2, 7.5, 1), (0, 0.5, 2), (2, 8.0, 3)] {
            exemplars.keep(bucket, value, &span(id));
        }
        let kept = exemplars.all();
        let kept: Vec<_> = kept
            .iter()
            .map(|exemplar| {
                (
                    exemplar.bucket,
                    exemplar.value,
                    exemplar.trace_id[0],
                    exemplar.span_id[0],
                )
            })
            .collect();
        assert_eq!(kept, [(0, 0.5, 2, 2), (2, 8.0, 3, 3)]);
    }

    #[test]
    fn nobody_waits() {
        let exemplars = Exemplars::default();
        let held = exemplars.0.lock().unwrap();
        exemplars.keep(0, 1.0, &span(1));
        drop(held);
        assert_eq!(exemplars.all(), []);
    }

    #[test]
    fn of_two_the_later_is_shown() {
        let exemplar = |bucket, id, after| Exemplar {
            bucket,
            trace_id: [id; 16],
            span_id: [id; 8],
            value: 1.0,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(after),
        };
        let mut ours = vec![exemplar(1, 1, 10), exemplar(3, 2, 20)];
        join(
            &mut ours,
            &[exemplar(0, 3, 1), exemplar(1, 4, 11), exemplar(3, 5, 19)],
        );
        assert_eq!(ours, [exemplar(0, 3, 1), exemplar(1, 4, 11), exemplar(3, 2, 20)]);
    }
}
