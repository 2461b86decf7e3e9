//! Whether to write at once, or to let calls that are about to run add to it.

/// With fewer streams than this there is hardly anybody to wait for.
const FEWEST: usize = 4;
/// After how many writes at most waiting is tried again.
const LONGEST_BACKOFF: u32 = 64;

/// Writes of a busy connection wait for one turn of the tasks that are ready to run: what these send goes out in the
/// same write. No timer is involved, and where nothing joins there is soon no waiting: each time in vain doubles
/// the number of writes that do without.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// What was to be written when waiting began.
    waiting: Option<usize>,
    /// How many writes go without waiting after the last one that waited: none while something joins.
    backoff: u32,
    /// How many of them are to come.
    left: u32,
}

impl Gather {
    /// Whether what there is, `unwritten` bytes, is to wait for one turn.
    pub(super) fn waits(&mut self, unwritten: usize, streams: usize) -> bool {
        if let Some(before) = self.waiting.take() {
            self.backoff = if unwritten > before {
                0
            } else {
                (self.backoff * 2).clamp(1, LONGEST_BACKOFF)
            };
            self.left = self.backoff;
            return false;
        }
        if unwritten == 0 || streams < FEWEST {
            return false;
        }
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.waiting = Some(unwritten);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 1,000 writes wait, when `joins` says whether something joins.
    fn waiting(streams: usize, mut joins: impl FnMut(usize) -> bool) -> usize {
        let mut gather = Gather::default();
        let mut waited = 0;
        for n in 0..1000 {
            if gather.waits(10, streams) {
                waited += 1;
                assert!(
                    !gather.waits(if joins(n) { 20 } else { 10 }, streams),
                    "no second turn"
                );
            }
        }
        waited
    }

    #[test]
    fn writes_wait_while_something_joins() {
        assert_eq!(waiting(FEWEST, |_| true), 1000);
    }

    #[test]
    fn few_streams_do_not_wait() {
        assert_eq!(waiting(FEWEST - 1, |_| true), 0);
    }

    #[test]
    fn waiting_in_vain_becomes_rare_and_one_success_ends_that() {
        let in_vain = waiting(100, |_| false);
        assert!((15..30).contains(&in_vain), "{in_vain}");
        assert!(waiting(100, |n| n > 500) > 400);
    }

    #[test]
    fn nothing_to_write_does_not_wait() {
        assert!(!Gather::default().waits(0, 100));
    }
}
