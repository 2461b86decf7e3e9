//! Look-ups of the DNS that are made again and again: for as long as an answer is good, and soon when somebody could not
//! be reached.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use invoke_core::AppRef;
use invoke_core::balance::{Endpoint, EndpointWatch, Publisher, Resolution, watched};
use invoke_core::error::ResolveError;
use lifecycle::Tasks;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use crate::instances::bounded;

/// How soon is looked up again when a sidecar could not be reached, or nothing was found where something was.
const SOON: Duration = Duration::from_secs(1);
/// How soon at the latest after a look-up that failed, however long what was found before was good for.
const RETRY: Duration = Duration::from_secs(5);
/// How many look-ups in a row may fail before what is known is given up.
const PATIENCE: u32 = 4;
/// How many look-ups there are at once.
const LOOKUPS: usize = 64;

/// What a look-up found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) endpoints: Vec<Endpoint>,
    /// When to look up again.
    pub(crate) good_for: Duration,
}

/// Those who are looked up.
#[derive(Debug)]
pub(crate) struct Refreshing {
    component: &'static str,
    tasks: Tasks,
    lookups: Arc<Semaphore>,
    /// How those who look an app up hear that one of its sidecars could not be reached.
    unreachable: Mutex<HashMap<AppRef, Weak<Notify>>>,
}

impl Refreshing {
    /// `component` is the name in the log, `tasks` owns the look-ups.
    pub(crate) fn new(component: &'static str, tasks: Tasks) -> Self {
        Self {
            component,
            tasks,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            unreachable: Mutex::default(),
        }
    }

    /// Looks an app up now and then, until it is not to be found.
    pub(crate) fn watch<F, L>(&self, app: &AppRef, look_up: L) -> EndpointWatch
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Found, ResolveError>> + Send,
    {
        let (publisher, watch) = watched();
        let (component, lookups) = (self.component, Arc::clone(&self.lookups));
        let unreachable = self.unreachable_of(app);
        self.tasks.spawn(async move {
            keep_while_watched(component, &publisher, &look_up, &lookups, &unreachable).await;
        });
        watch
    }

    /// The same for somebody who has begun to tell, and may go on afterwards.
    pub(crate) async fn keeping<F, L>(&self, app: &AppRef, publisher: &Publisher, look_up: &L)
    where
        L: Fn() -> F + Send + Sync,
        F: Future<Output = Result<Found, ResolveError>> + Send,
    {
        let unreachable = self.unreachable_of(app);
        keep_while_watched(self.component, publisher, look_up, &self.lookups, &unreachable).await;
    }

    /// What tells those who look the app up. Only they hold it: it goes with the last of them.
    pub(crate) fn unreachable_of(&self, app: &AppRef) -> Arc<Notify> {
        let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = unreachable.get(app).and_then(Weak::upgrade) {
            return known;
        }
        unreachable.retain(|_, notify| notify.strong_count() > 0);
        let notify = Arc::new(Notify::new());
        unreachable.insert(app.clone(), Arc::downgrade(&notify));
        notify
    }

    /// Has an app looked up soon.
    pub(crate) fn hurry(&self, app: &AppRef) {
        let unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = unreachable.get(app).and_then(Weak::upgrade) {
            notify.notify_waiters();
        }
    }

    #[cfg(test)]
    pub(crate) fn watched(&self) -> usize {
        self.unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

async fn keep_while_watched<F>(
    component: &'static str,
    publisher: &Publisher,
    look_up: &impl Fn() -> F,
    lookups: &Semaphore,
    unreachable: &Notify,
) where
    F: Future<Output = Result<Found, ResolveError>>,
{
    tokio::select! {
        // In this order: chance would make simulations that cannot be repeated.
        biased;
        () = publisher.closed() => {}
        () = keep(component, publisher, look_up, lookups, unreachable) => {}
    }
}

async fn keep<F>(
    component: &'static str,
    publisher: &Publisher,
    look_up: &impl Fn() -> F,
    lookups: &Semaphore,
    unreachable: &Notify,
) where
    F: Future<Output = Result<Found, ResolveError>>,
{
    let mut failures = 0;
    let mut good_for = SOON;
    let mut is_in_step = true;
    loop {
        // Who cannot be reached while this look-up goes on may be in what it finds.
        let mut told = pin!(unreachable.notified());
        told.as_mut().enable();
        let found = {
            // Nobody closes the semaphore.
            let _place = lookups.acquire().await;
            look_up().await
        };
        let pause = match found {
            Ok(found) => {
                failures = 0;
                good_for = found.good_for;
                publisher.publish(bounded(found.endpoints));
                // Sidecars that start together, or miss an instance together, look up together, and would do so for ever.
                if std::mem::take(&mut is_in_step) {
                    good_for.mul_f64(fastrand::f64()).max(SOON.min(good_for))
                } else {
                    good_for
                }
            }
            Err(error) => {
                failures += 1;
                let is_known = matches!(publisher.now(), Resolution::Endpoints(_));
                if !is_known || failures == PATIENCE {
                    publisher.fail(error);
                    return;
                }
                tracing::debug!(target: "dapr.contrib", component, "{error}");
                good_for.min(RETRY)
            }
        };
        let soon = async {
            told.await;
            sleep(SOON).await;
        };
        tokio::select! {
            biased;
            () = soon => is_in_step = true,
            () = sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{Instant, timeout};

    use super::*;

    fn app() -> AppRef {
        AppRef::new("a", "ns")
    }

    /// Look-ups that find this, one after the other, and nothing after that.
    fn scripted(
        refreshing: &Refreshing,
        script: &'static [Result<(&'static [u16], u64), &'static str>],
    ) -> EndpointWatch {
        let count = AtomicU32::new(0);
        refreshing.watch(&app(), move || {
            let place = count.fetch_add(1, Ordering::Relaxed) as usize;
            let said = script.get(place).copied().unwrap_or(Err("gone"));
            async move {
                let (ports, seconds) = said.map_err(ResolveError::new)?;
                Ok(Found {
                    endpoints: ports
                        .iter()
                        .map(|port| Endpoint::new(format!("h:{port}")))
                        .collect(),
                    good_for: Duration::from_secs(seconds),
                })
            }
        })
    }

    fn ports(watch: &EndpointWatch) -> String {
        match watch.now() {
            Resolution::Endpoints(found) => {
                let addresses: Vec<&str> = found.iter().map(|one| &**one.address()).collect();
                addresses.join(" ")
            }
            Resolution::Failed(error) => error.to_string(),
            Resolution::Pending => "pending".to_owned(),
        }
    }

    /// What callers name makes no more look-ups than that at once; the others have their turn.
    #[tokio::test(start_paused = true)]
    async fn look_ups_have_a_number() {
        let refreshing = Refreshing::new("test", Tasks::new());
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let watches: Vec<_> = (0..3 * LOOKUPS)
            .map(|n| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                refreshing.watch(&AppRef::new(&*format!("a{n}"), "ns"), move || {
                    let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                    async move {
                        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                        sleep(Duration::from_secs(1)).await;
                        now.fetch_sub(1, Ordering::Relaxed);
                        Err(ResolveError::new("nobody"))
                    }
                })
            })
            .collect();
        for watch in watches {
            assert!(matches!(watch.first().await, Resolution::Failed(_)));
        }
        assert_eq!(most.load(Ordering::Relaxed) as usize, LOOKUPS);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_as_long_as_it_says() {
        let refreshing = Refreshing::new("test", Tasks::new());
        let mut watch = scripted(
            &refreshing,
            &[Ok((&[2, 1, 2], 30)), Ok((&[3], 5)), Ok((&[4], 1000))],
        );
        let begun = Instant::now();
        for (wanted, after) in [("h:1 h:2", 0..=0), ("h:3", 1..=30), ("h:4", 5..=5)] {
            let before = Instant::now();
            assert!(watch.changed().await);
            assert_eq!(ports(&watch), wanted);
            assert!(after.contains(&before.elapsed().as_secs()), "{wanted}");
        }
        assert!(begun.elapsed().as_secs() <= 35);
        refreshing.hurry(&app());
        timeout(Duration::from_secs(3), watch.changed())
            .await
            .unwrap_err();
        assert_eq!(ports(&watch), "h:4", "one failure takes nothing away");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_found_four_times_in_a_row_is_given_up() {
        const SCRIPT: &[Result<(&[u16], u64), &str>] =
            &[Ok((&[1], 5)), Err("x"), Err("x"), Err("x"), Ok((&[2], 5))];
        let refreshing = Refreshing::new("test", Tasks::new());
        let watch = scripted(&refreshing, SCRIPT);
        let found = watch
            .wait_for(|found| !matches!(found, Resolution::Pending))
            .await;
        assert!(matches!(found, Resolution::Endpoints(_)));
        let begun = Instant::now();
        let failed = watch
            .wait_for(|found| matches!(found, Resolution::Failed(_)))
            .await;
        assert!(matches!(failed, Resolution::Failed(error) if error.to_string() == "gone"));
        assert!(
            (36..=40).contains(&begun.elapsed().as_secs()),
            "three failures, an answer, four failures"
        );
        assert!(!watch.is_alive(), "the next call asks anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_made_good_soon() {
        let refreshing = Refreshing::new("test", Tasks::new());
        let mut watch = scripted(
            &refreshing,
            &[Ok((&[1], 1)), Ok((&[2], 300)), Err("x"), Ok((&[3], 300))],
        );
        for _ in 0..2 {
            assert!(watch.changed().await);
        }
        let begun = Instant::now();
        assert!(watch.changed().await);
        assert_eq!((ports(&watch).as_str(), begun.elapsed().as_secs()), ("h:3", 305));
    }

    /// Sidecars that start together would look up together for ever, each time what they found is no longer good.
    #[tokio::test(start_paused = true)]
    async fn who_starts_together_goes_apart() {
        const SCRIPT: &[Result<(&[u16], u64), &str>] = &[Ok((&[1], 30)), Ok((&[2], 30)), Ok((&[3], 30))];
        let watches = (0..300).map(|_| scripted(&Refreshing::new("test", Tasks::new()), SCRIPT));
        let mut watches: Vec<_> = watches.collect();
        for watch in &mut watches {
            watch.changed().await;
        }
        let begun = Instant::now();
        let second = watches.into_iter().map(|mut watch| {
            tokio::spawn(async move {
                watch.changed().await;
                begun.elapsed().as_secs()
            })
        });
        let mut by_second = [0; 31];
        for second in second.collect::<Vec<_>>() {
            by_second[second.await.unwrap() as usize] += 1;
        }
        assert!(by_second.iter().all(|count| *count < 60), "{by_second:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_unreachable_during_a_look_up_is_looked_up_again() {
        let refreshing = Refreshing::new("test", Tasks::new());
        let count = AtomicU32::new(0);
        let mut watch = refreshing.watch(&app(), move || {
            let port = count.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(Duration::from_secs(2)).await;
                Ok(Found {
                    endpoints: vec![Endpoint::new(format!("h:{port}"))],
                    good_for: Duration::from_secs(300),
                })
            }
        });
        let begun = Instant::now();
        sleep(Duration::from_secs(1)).await;
        refreshing.hurry(&app());
        for (wanted, after) in [("h:0", 2), ("h:1", 5)] {
            assert!(watch.changed().await);
            assert_eq!(
                (ports(&watch).as_str(), begun.elapsed().as_secs()),
                (wanted, after)
            );
        }
    }

    #[test]
    fn one_unreachable_sidecar_is_no_matter_of_other_apps() {
        let refreshing = Refreshing::new("test", Tasks::new());
        let (one, other) = (AppRef::new("a", "ns"), AppRef::new("b", "ns"));
        let (of_one, of_other) = (refreshing.unreachable_of(&one), refreshing.unreachable_of(&other));
        let mut told = [of_one, of_other].map(|notify| Box::pin(notify.notified_owned()));
        for told in &mut told {
            told.as_mut().enable();
        }
        refreshing.hurry(&one);
        assert!(told[0].as_mut().enable(), "it is looked up again soon");
        assert!(!told[1].as_mut().enable());
        drop(told);
        refreshing.unreachable_of(&AppRef::new("c", "ns"));
        assert_eq!(refreshing.watched(), 1, "who is not watched is forgotten");
    }
}
