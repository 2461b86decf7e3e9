//! The sidecars of another app.

use std::sync::{Arc, PoisonError};

use tokio::time::{Duration, timeout};

use super::copies::Copies;
use crate::balance::{Affinity, EjectionCounts, EndpointWatch, Endpoints, Picked, Resolution, Tried};
use crate::error::{Fault, InvokeError, ResolveError};
use crate::headers::Callee;
use crate::id::AppRef;
use crate::ports::Resolver;
use crate::sync::{ArcSwapOption, Mutex, MutexGuard};

/// The sidecars of another app: who it is, and where they are.
#[derive(Debug)]
pub struct Peer {
    app: AppRef,
    callee: Callee,
    /// Nothing before the first call, and after a look-up that failed.
    watch: ArcSwapOption<EndpointWatch>,
    /// Held while the resolver is asked, so that calls that come at once share its answer. How often one of its sidecars
    /// was left out while what is watched was another watch.
    asking: Mutex<EjectionCounts>,
    /// Of calls to others.
    copies: Copies,
}

impl Peer {
    pub(super) fn new(app: AppRef) -> Self {
        Self {
            callee: Callee::new(&app.id),
            app,
            watch: ArcSwapOption::empty(),
            asking: Mutex::default(),
            copies: Copies::default(),
        }
    }

    /// Where its sidecars are, as far as somebody called them and that is known.
    pub fn endpoints(&self) -> Option<Endpoints> {
        match self.watch.load().as_ref()?.now() {
            Resolution::Endpoints(endpoints) => Some(endpoints),
            Resolution::Pending | Resolution::Failed(_) => None,
        }
    }

    /// How often one of its sidecars was left out for a while.
    pub fn ejections(&self) -> EjectionCounts {
        let before = self.asking();
        let watch = self.watch.load();
        *before + watch.as_ref().map(|watch| watch.ejections()).unwrap_or_default()
    }

    fn asking(&self) -> MutexGuard<'_, EjectionCounts> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copies of calls to other apps that it gets.
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Which app it is.
    pub fn app(&self) -> &AppRef {
        &self.app
    }

    /// How calls name it.
    pub(crate) fn callee(&self) -> &Callee {
        &self.callee
    }

    /// Picks an endpoint, waiting for the resolver if it has not answered yet.
    pub(crate) async fn pick(
        &self,
        resolver: &dyn Resolver,
        affinity: Option<Affinity>,
    ) -> Result<Picked, InvokeError> {
        if let Some(watch) = &*self.watch.load()
            && watch.is_alive()
            && let Some(picked) = watch.pick_for(affinity, &[])
        {
            return Ok(picked);
        }
        // Rare, and large: a call must not carry room for it.
        Box::pin(self.first(resolver, affinity)).await
    }

    async fn first(
        &self,
        resolver: &dyn Resolver,
        affinity: Option<Affinity>,
    ) -> Result<Picked, InvokeError> {
        let watch = self.watched(resolver);
        let first = timeout(PATIENCE, watch.first()).await;
        let failure = match first.unwrap_or(Resolution::Pending) {
            Resolution::Failed(error) => error,
            Resolution::Pending if watch.is_pending() => {
                ResolveError::new(format!("timeout waiting for address for app id {}", self.app.id))
            }
            Resolution::Pending | Resolution::Endpoints(_) => match watch.pick_for(affinity, &[]) {
                Some(picked) => return Ok(picked),
                None => ResolveError::new(format!("resolver returned empty address for app id {}", self.app)),
            },
        };
        // The next call asks anew.
        let mut before = self.asking();
        let current = self.watch.compare_and_swap(&watch, None);
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, &watch))
        {
            *before = *before + watch.ejections();
        }
        Err(InvokeError::unsent(Fault::Peer, failure))
    }

    /// What is watched, which begins here if need be.
    fn watched(&self, resolver: &dyn Resolver) -> Arc<EndpointWatch> {
        let mut before = self.asking();
        let current = self.watch.load_full();
        match current {
            Some(watch) if watch.is_alive() => watch,
            dead => {
                let watch = Arc::new(resolver.watch(&self.app));
                self.watch.store(Some(Arc::clone(&watch)));
                *before = *before + dead.map(|dead| dead.ejections()).unwrap_or_default();
                watch
            }
        }
    }

    /// Picks an endpoint that is not among those tried, if there is one.
    pub(crate) fn pick_other(&self, affinity: Option<Affinity>, tried: &[Tried]) -> Option<Picked> {
        self.watch.load().as_ref()?.pick_for(affinity, tried)
    }

    /// Takes an endpoint that could not be reached out of the choice for a while, and tells the resolver.
    pub(crate) fn unreachable(&self, resolver: &dyn Resolver, picked: &mut Picked) {
        resolver.unreachable(&self.app, picked.endpoint());
        picked.failed();
    }
}

/// How long the first answer of a resolver is waited for. Each of them has its own, shorter limit; this one is for
/// those that forget it.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Endpoint, Publisher, watched};

    #[derive(Default)]
    struct Scripted {
        publishers: Mutex<Vec<Publisher>>,
        unreachable: Mutex<Vec<Endpoint>>,
    }

    impl Resolver for Scripted {
        fn watch(&self, _: &AppRef) -> EndpointWatch {
            let (publisher, watch) = watched();
            self.publishers.lock().unwrap().push(publisher);
            watch
        }

        fn unreachable(&self, _: &AppRef, endpoint: &Endpoint) {
            self.unreachable.lock().unwrap().push(endpoint.clone());
        }
    }

    impl Scripted {
        fn say(&self, watch: usize, ports: &[u16]) {
            let endpoints = ports
                .iter()
                .map(|port| Endpoint::new(format!("127.0.0.1:{port}")));
            self.publishers.lock().unwrap()[watch].publish(endpoints);
        }

        fn watches(&self) -> usize {
            self.publishers.lock().unwrap().len()
        }
    }

    fn peer() -> (Arc<Scripted>, Arc<Peer>) {
        (Arc::default(), Arc::new(Peer::new(AppRef::new("a", "default"))))
    }

    #[tokio::test]
    async fn the_first_answer_is_awaited_and_shared() {
        let (resolver, peer) = peer();
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let (resolver, peer) = (resolver.clone(), peer.clone());
                tokio::spawn(async move { peer.pick(&*resolver, None).await.map(|p| p.endpoint().clone()) })
            })
            .collect();
        tokio::task::yield_now().await;
        resolver.say(0, &[1]);
        for task in waiting {
            assert_eq!(task.await.unwrap().unwrap(), Endpoint::new("127.0.0.1:1"));
        }
        assert_eq!(resolver.watches(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_says_nothing_is_not_waited_for_for_ever() {
        let (resolver, peer) = peer();
        let error = peer.pick(&*resolver, None).await.unwrap_err();
        assert_eq!(error.to_string(), "timeout waiting for address for app id a");
        // The next call asks anew.
        peer.watched(&*resolver);
        assert_eq!(resolver.watches(), 2);
    }

    #[tokio::test]
    async fn later_answers_replace_the_endpoints_and_keep_the_counts() {
        let (resolver, peer) = peer();
        peer.watched(&*resolver);
        resolver.say(0, &[1, 2]);
        let held = peer.pick(&*resolver, None).await.unwrap();
        let kept = held.endpoint().clone();
        resolver.say(0, &[1, 2, 3]);
        for _ in 0..50 {
            let other = peer.pick_other(None, &[held.tried()]);
            assert_ne!(*other.unwrap().endpoint(), kept);
        }
        resolver.say(0, &[3]);
        assert_eq!(
            *peer.pick(&*resolver, None).await.unwrap().endpoint(),
            Endpoint::new("127.0.0.1:3")
        );
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_asked_anew() {
        let (resolver, peer) = peer();
        peer.watched(&*resolver);
        resolver.publishers.lock().unwrap()[0].fail(ResolveError::new("couldn't find service: a"));
        let error = peer.pick(&*resolver, None).await.unwrap_err();
        assert_eq!(error.to_string(), "couldn't find service: a");
        peer.watched(&*resolver);
        assert_eq!(resolver.watches(), 2);
    }

    #[tokio::test]
    async fn the_resolver_hears_of_unreachable_endpoints() {
        let (resolver, peer) = peer();
        peer.watched(&*resolver);
        resolver.say(0, &[1, 2]);
        let mut picked = peer.pick(&*resolver, None).await.unwrap();
        peer.unreachable(&*resolver, &mut picked);
        assert_eq!(*resolver.unreachable.lock().unwrap(), [picked.endpoint().clone()]);
        for _ in 0..20 {
            assert_ne!(
                peer.pick(&*resolver, None).await.unwrap().endpoint(),
                picked.endpoint()
            );
        }
    }

    /// Each time that one is left out, by why, whatever becomes of the watch.
    #[tokio::test(start_paused = true)]
    async fn what_is_left_out_is_counted() {
        let (resolver, peer) = peer();
        let counted = || {
            let EjectionCounts { unreachable, stalled } = peer.ejections();
            (unreachable, stalled)
        };
        peer.watched(&*resolver);
        resolver.say(0, &[1, 2]);
        let mut together = [
            peer.pick(&*resolver, None).await.unwrap(),
            peer.pick(&*resolver, None).await.unwrap(),
        ];
        for picked in &mut together {
            peer.unreachable(&*resolver, picked);
            peer.unreachable(&*resolver, picked);
        }
        let endpoints = if together[0].endpoint() == together[1].endpoint() {
            1
        } else {
            2
        };
        assert_eq!(counted(), (endpoints, 0), "calls that fail together are one");
        drop(together);

        // One stands still: calls to it are given up, and then the one that finds out whether it is well.
        resolver.say(0, &[3, 4]);
        let mut trials = 0;
        while counted().1 < 2 && trials < 200 {
            let held = peer.pick(&*resolver, None).await.unwrap();
            tokio::time::advance(Duration::from_millis(1500)).await;
            if **held.endpoint().address() == *"127.0.0.1:3" {
                drop(held);
                trials += 1;
            } else {
                held.succeeded(true);
            }
        }
        assert_eq!(counted(), (endpoints, 2));
        assert_eq!(trials, 6, "five that nothing came of, and one trial");

        // The resolver begins anew, and so does what is watched.
        resolver.publishers.lock().unwrap().clear();
        peer.watched(&*resolver);
        assert_eq!(counted(), (endpoints, 2));
        resolver.publishers.lock().unwrap()[0].fail(ResolveError::new("gone"));
        assert!(peer.pick(&*resolver, None).await.is_err());
        assert_eq!(counted(), (endpoints, 2));
    }

    #[tokio::test]
    async fn a_closed_resolver_is_asked_again_and_hears_when_nobody_looks() {
        let (resolver, peer) = peer();
        peer.watched(&*resolver);
        resolver.publishers.lock().unwrap().clear();
        peer.watched(&*resolver);
        assert_eq!(resolver.watches(), 1, "the second watch replaced the first");
        drop(peer);
        assert!(resolver.publishers.lock().unwrap()[0].is_closed());
    }
}
