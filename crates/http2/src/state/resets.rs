//! Streams that were reset here.

use std::collections::VecDeque;

/// How many are remembered one by one.
const REMEMBERED: usize = 64;

/// The streams of the peer that were reset here lately. The peer may have sent more on them before it heard of that
/// (RFC 9113, section 5.1), while on others nothing may come after their end.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    latest: VecDeque<u32>,
    /// Any stream up to this one may have been reset.
    forgotten: u32,
}

impl Resets {
    pub(super) fn remember(&mut self, id: u32) {
        if self.latest.len() >= REMEMBERED
            && let Some(oldest) = self.latest.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.latest.push_back(id);
    }

    /// Whether more may come on a stream.
    pub(super) fn may_have(&self, id: u32) -> bool {
        id <= self.forgotten || self.latest.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_counts_as_reset() {
        let mut resets = Resets::default();
        for n in 1..=REMEMBERED as u32 {
            resets.remember(n * 4 + 1);
        }
        assert!(resets.may_have(5) && !resets.may_have(7) && !resets.may_have(3));
        resets.remember(1001);
        assert!(resets.may_have(5) && resets.may_have(3) && !resets.may_have(7));
        assert!(resets.may_have(1001) && !resets.may_have(1003));
        assert_eq!(resets.latest.len(), REMEMBERED);
    }
}
