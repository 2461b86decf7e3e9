//! Calls that wait until the peer takes one more.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// A place in the line, kept by whoever waits.
pub(crate) type Ticket = Option<u64>;

/// Those that wait, in the order in which they came. Only as many are woken as there is room for: waking them all
/// for every place that gets free would cost the square of their number.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: VecDeque<(u64, Waker)>,
    next: u64,
    /// How many at the front were woken and have not come yet.
    woken: usize,
}

impl Line {
    /// Ready when it is the turn of this one: when fewer are before it than there is room for. It leaves the line
    /// then; else it has a ticket, which must be given to [`Self::leave`] if it gives up.
    pub(super) fn poll(&mut self, ticket: &mut Ticket, room: usize, cx: &Context<'_>) -> Poll<()> {
        let place = match *ticket {
            None => self.waiting.len(),
            Some(ticket) => self.place(ticket),
        };
        if place < room {
            self.leave(ticket.take());
            return Poll::Ready(());
        }
        if let Some((_, waker)) = self.waiting.get_mut(place) {
            waker.clone_from(cx.waker());
            // It came too early, and is to be woken again, as are those behind it.
            self.woken = self.woken.min(place);
        } else {
            self.waiting.push_back((self.next, cx.waker().clone()));
            *ticket = Some(self.next);
            self.next += 1;
        }
        Poll::Pending
    }

    /// Takes one out of the line.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        let Some(ticket) = ticket else { return };
        let place = self.place(ticket);
        if self.waiting.remove(place).is_some() && place < self.woken {
            self.woken -= 1;
        }
    }

    /// Wakes those that there is room for.
    pub(super) fn call(&mut self, room: usize) {
        while self.woken < room
            && let Some((_, waker)) = self.waiting.get(self.woken)
        {
            waker.wake_by_ref();
            self.woken += 1;
        }
    }

    /// Where the holder of a ticket stands. Tickets grow.
    fn place(&self, ticket: u64) -> usize {
        self.waiting
            .binary_search_by_key(&ticket, |(known, _)| *known)
            .unwrap_or(self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody who waits.
    #[derive(Default)]
    struct Caller {
        ticket: Ticket,
        woken: Arc<Count>,
    }

    impl Caller {
        fn polls(&mut self, line: &mut Line, room: usize) -> bool {
            let waker = Waker::from(Arc::clone(&self.woken));
            line.poll(&mut self.ticket, room, &Context::from_waker(&waker))
                .is_ready()
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    fn callers<const N: usize>() -> [Caller; N] {
        std::array::from_fn(|_| Caller::default())
    }

    #[test]
    fn nobody_waits_while_there_is_room() {
        let mut line = Line::default();
        let [mut a] = callers();
        assert!(a.polls(&mut line, 1));
        assert!(line.waiting.is_empty() && a.ticket.is_none());
    }

    #[test]
    fn places_are_taken_in_order_and_nobody_else_is_woken() {
        let mut line = Line::default();
        let [mut a, mut b, mut c] = callers();
        for caller in [&mut a, &mut b] {
            assert!(!caller.polls(&mut line, 0));
            // Asking again is no second place.
            assert!(!caller.polls(&mut line, 0));
        }
        assert_eq!(line.waiting.len(), 2);
        line.call(1);
        line.call(1);
        assert_eq!((a.woken(), b.woken()), (1, 0));
        assert!(!c.polls(&mut line, 1), "it came last");
        assert!(!b.polls(&mut line, 1));
        assert!(a.polls(&mut line, 1));
        line.call(2);
        assert_eq!((b.woken(), c.woken()), (1, 1));
        assert!(c.polls(&mut line, 2) && b.polls(&mut line, 1));
        assert!(line.waiting.is_empty());
        assert_eq!(line.woken, 0);
    }

    #[test]
    fn who_gives_up_after_it_was_woken_leaves_its_place_to_the_next() {
        let mut line = Line::default();
        let [mut a, mut b] = callers();
        assert!(!a.polls(&mut line, 0) && !b.polls(&mut line, 0));
        line.call(1);
        line.leave(a.ticket.take());
        line.call(1);
        assert_eq!(b.woken(), 1);
        assert!(b.polls(&mut line, 1));
    }

    #[test]
    fn who_came_too_early_is_woken_again() {
        let mut line = Line::default();
        let [mut a] = callers();
        assert!(!a.polls(&mut line, 0));
        line.call(1);
        assert!(!a.polls(&mut line, 0));
        line.call(1);
        assert_eq!(a.woken(), 2);
    }
}
