//! How many calls an app gets at once.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use invoke_core::{Cause, Fault, Head, InvokeError, Reply};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::sync::{Mutex, MutexGuard};

/// How long calls may have been waiting without a pause before the newest is let in first.
const OVERLOADED: Duration = Duration::from_millis(100);

/// How many calls wait at most.
const MOST_WAITING: usize = 8192;
/// How long one waits at most.
const PATIENCE: Duration = Duration::from_secs(300);

/// Lets so many calls in at once (`--app-max-concurrency`); the others wait. Cloning shares the places.
///
/// Calls are let in in the order in which they came, as long as the queue empties now and then. The queue of an
/// overloaded app never empties. Its first call has waited longest, and its caller is about to give up: the app would
/// work for nobody. So the newest call is let in first then (adaptive LIFO). A call that is dropped while it waits
/// leaves the queue. A call that is dropped later gives its place back. The queue has a bound: beyond it the call that
/// has waited longest fails.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    places: usize,
    free: usize,
    most_waiting: usize,
    waiting: VecDeque<Arc<Ticket>>,
    /// Since when somebody has been waiting.
    busy_since: Instant,
}

/// One waiting call.
#[derive(Debug, Default)]
struct Ticket(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    turn: Turn,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Awaited,
    Come,
    Lost,
}

impl Ticket {
    /// Tells whoever waits what became of it.
    fn tell(&self, turn: Turn) -> Option<Waker> {
        let mut state = lock(&self.0);
        state.turn = turn;
        state.waker.take()
    }
}

/// Why a call gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoPlace {
    /// So many wait already.
    #[error("more than {0} calls wait for the app")]
    TooMany(usize),
    /// It waited for so long.
    #[error("the app took no further call for {} s", .0.as_secs())]
    TooLong(Duration),
    /// Its caller stopped waiting.
    #[error("context deadline exceeded")]
    Late,
}

impl From<NoPlace> for InvokeError {
    fn from(error: NoPlace) -> Self {
        // Told apart from what the app does: APIs have a code of their own for it.
        if error == NoPlace::Late {
            return Self::unsent(Fault::Caller, Cause::DeadlineExceeded);
        }
        let text = error.to_string();
        let source = Some(error.into());
        Self::unsent(Fault::App, Cause::App { text, source })
    }
}

/// How a limit is made use of at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitUsage {
    /// How many calls the app gets at once.
    pub places: usize,
    /// How many it has.
    pub taken: usize,
    /// How many wait.
    pub waiting: usize,
}

/// A place among the calls that an app has; dropping it lets the next one in.
#[derive(Debug)]
pub struct Place(ConcurrencyLimit);

impl Place {
    /// Keeps the place until the answer has ended.
    pub(crate) fn until_end_of(place: Option<Self>, mut reply: Reply) -> Reply {
        if let Some(place) = place {
            reply.body = reply.body.holding(place);
        }
        reply
    }
}

impl ConcurrencyLimit {
    /// A limit of `places` calls.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue {
            places,
            free: places,
            most_waiting: MOST_WAITING,
            waiting: VecDeque::new(),
            busy_since: Instant::now(),
        })))
    }

    /// How many places there are, how many of them are taken, and how many calls wait for one.
    pub fn usage(&self) -> LimitUsage {
        let queue = self.queue();
        LimitUsage {
            places: queue.places,
            taken: queue.places.saturating_sub(queue.free),
            waiting: queue.waiting.len(),
        }
    }

    /// Waits for a place.
    pub async fn enter(&self) -> Result<Place, NoPlace> {
        self.enter_until(None).await
    }

    /// Waits for a place, but no longer than the caller does.
    pub async fn enter_until(&self, deadline: Option<Instant>) -> Result<Place, NoPlace> {
        let mut entering = Entering {
            limit: self.clone(),
            ticket: None,
        };
        let entered = poll_fn(|cx| Poll::Ready(Pin::new(&mut entering).poll(cx))).await;
        if let Poll::Ready(entered) = entered {
            return entered;
        }
        // A call that need not wait must not carry room for a timer.
        let patience = Instant::now() + PATIENCE;
        let (until, why) = match deadline {
            Some(deadline) if deadline < patience => (deadline, NoPlace::Late),
            _ => (patience, NoPlace::TooLong(PATIENCE)),
        };
        Box::pin(timeout_at(until, entering)).await.unwrap_or(Err(why))
    }

    /// Waits for a place for this call, if there is a limit.
    pub(crate) async fn place(limit: Option<&Self>, head: &Head) -> Result<Option<Place>, InvokeError> {
        let Some(limit) = limit else { return Ok(None) };
        let deadline = head.deadline.map(Instant::from_std);
        let place = limit.enter_until(deadline).await?;
        // It may have been let in as its time ended: then it is work for nobody.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(NoPlace::Late.into());
        }
        Ok(Some(place))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.0)
    }

    /// Gives a place to the next call, or back.
    fn release(&self) {
        let mut queue = self.queue();
        let is_overloaded = queue.busy_since.elapsed() > OVERLOADED;
        let next = if is_overloaded {
            queue.waiting.pop_back()
        } else {
            queue.waiting.pop_front()
        };
        match next {
            Some(ticket) => {
                let waker = ticket.tell(Turn::Come);
                drop(queue);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            None => queue.free += 1,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.release();
    }
}

struct Entering {
    limit: ConcurrencyLimit,
    ticket: Option<Arc<Ticket>>,
}

impl Future for Entering {
    type Output = Result<Place, NoPlace>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(ticket) = &this.ticket {
            let mut state = lock(&ticket.0);
            let turn = state.turn;
            if turn == Turn::Awaited {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            drop(state);
            this.ticket = None;
            return Poll::Ready(if turn == Turn::Come {
                Ok(Place(this.limit.clone()))
            } else {
                Err(NoPlace::TooMany(this.limit.queue().most_waiting))
            });
        }
        let mut queue = this.limit.queue();
        if queue.free > 0 {
            queue.free -= 1;
            drop(queue);
            return Poll::Ready(Ok(Place(this.limit.clone())));
        }
        if queue.waiting.is_empty() {
            queue.busy_since = Instant::now();
        }
        let ticket = Arc::new(Ticket(Mutex::new(State {
            turn: Turn::Awaited,
            waker: Some(cx.waker().clone()),
        })));
        queue.waiting.push_back(Arc::clone(&ticket));
        let loser = if queue.waiting.len() > queue.most_waiting {
            queue.waiting.pop_front()
        } else {
            None
        };
        drop(queue);
        let waker = loser.and_then(|loser| loser.tell(Turn::Lost));
        waker.into_iter().for_each(Waker::wake);
        this.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut queue = self.limit.queue();
        if let Some(at) = queue
            .waiting
            .iter()
            .position(|waiting| Arc::ptr_eq(waiting, &ticket))
        {
            queue.waiting.remove(at);
            return;
        }
        drop(queue);
        if lock(&ticket.0).turn == Turn::Come {
            // It was let in, but nobody took the place.
            self.limit.release();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

#[cfg(test)]
mod tests {
    use invoke_core::{Delivery, MethodPath, Origin};
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    type Order = Arc<Mutex<Vec<usize>>>;

    /// A call that notes when it is let in and leaves at once.
    fn call(limit: &ConcurrencyLimit, number: usize, order: &Order) -> JoinHandle<()> {
        let (limit, order) = (limit.clone(), Arc::clone(order));
        tokio::spawn(async move {
            let _place = limit.enter().await.unwrap();
            lock(&order).push(number);
        })
    }

    async fn calls(limit: &ConcurrencyLimit, count: usize, order: &Order) -> Vec<JoinHandle<()>> {
        let mut calls = Vec::new();
        for number in 0..count {
            calls.push(call(limit, number, order));
            yield_now().await;
        }
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_first_served() {
        let (limit, order) = (ConcurrencyLimit::new(1), Order::default());
        let place = limit.enter().await.unwrap();
        let calls = calls(&limit, 4, &order).await;
        assert!(lock(&order).is_empty());
        let wanted = LimitUsage {
            places: 1,
            taken: 1,
            waiting: 4,
        };
        assert_eq!(limit.usage(), wanted);
        drop(place);
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(*lock(&order), [0, 1, 2, 3]);
        assert_eq!(limit.queue().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_first_when_the_queue_never_empties() {
        let (limit, order) = (ConcurrencyLimit::new(1), Order::default());
        let place = limit.enter().await.unwrap();
        let calls = calls(&limit, 3, &order).await;
        tokio::time::advance(OVERLOADED * 2).await;
        drop(place);
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(*lock(&order), [2, 1, 0]);
        // An emptied queue is fair again.
        let place = limit.enter().await.unwrap();
        let calls = self::calls(&limit, 2, &order).await;
        drop(place);
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(*lock(&order), [2, 1, 0, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_takes_no_place() {
        let (limit, order) = (ConcurrencyLimit::new(1), Order::default());
        let place = limit.enter().await.unwrap();
        let calls = calls(&limit, 3, &order).await;
        calls[0].abort();
        calls[1].abort();
        yield_now().await;
        assert_eq!(limit.queue().waiting.len(), 1);
        drop(place);
        for call in calls {
            let _ = call.await;
        }
        assert_eq!(*lock(&order), [2]);
        assert_eq!(limit.queue().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_nobody_takes_goes_on() {
        let limit = ConcurrencyLimit::new(1);
        let place = limit.enter().await.unwrap();
        let mut first = Box::pin(limit.enter());
        let mut second = Box::pin(limit.enter());
        for waiting in [&mut first, &mut second] {
            let polled = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
            assert!(polled.await);
        }
        drop(place);
        drop(first);
        let _place = second.await.unwrap();
        assert_eq!(limit.queue().free, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_a_deadline_waits_no_longer() {
        let (limit, second) = (ConcurrencyLimit::new(1), Duration::from_secs(1));
        let mut head = Head::new(MethodPath::parse("m").unwrap(), Origin::Http);
        let place = limit.enter().await.unwrap();
        let begun = Instant::now();
        head.deadline = Some((begun + second).into_std());
        let error = ConcurrencyLimit::place(Some(&limit), &head).await.unwrap_err();
        assert_eq!(begun.elapsed(), second, "not for {PATIENCE:?}");
        assert!(matches!(error.cause, Cause::DeadlineExceeded), "{error:?}");
        assert_eq!((error.fault, error.seen), (Fault::Caller, Delivery::No));
        assert_eq!(limit.usage().waiting, 0, "it left the queue");
        drop(place);
        // There is a place, but nobody waits for the answer any more.
        let error = ConcurrencyLimit::place(Some(&limit), &head).await.unwrap_err();
        assert!(matches!(error.cause, Cause::DeadlineExceeded), "{error:?}");
        assert_eq!(limit.queue().free, 1, "the place is given back");
        head.deadline = Some((Instant::now() + second).into_std());
        assert!(
            ConcurrencyLimit::place(Some(&limit), &head)
                .await
                .unwrap()
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        let limit = ConcurrencyLimit::new(1);
        limit.queue().most_waiting = 2;
        let place = limit.enter().await.unwrap();
        let waiting = (0..3).map(|_| {
            let limit = limit.clone();
            tokio::spawn(async move { limit.enter().await.map(drop) })
        });
        let mut waiting: Vec<_> = waiting.collect();
        let first = waiting.remove(0).await.unwrap();
        assert_eq!(first, Err(NoPlace::TooMany(2)), "it has waited for longest");
        // Nobody waits for ever either.
        let begun = Instant::now();
        assert_eq!(waiting.remove(0).await.unwrap(), Err(NoPlace::TooLong(PATIENCE)));
        assert!(begun.elapsed() >= PATIENCE);
        drop(waiting.remove(0).await);
        assert!(limit.queue().waiting.is_empty());
        drop(place);
        assert_eq!(limit.queue().free, 1);
    }
}
