//! What callers name, found once.
//!
//! A caller's text (`app`, `app.namespace`, the name of an `HTTPEndpoint`, a URL) becomes one shared [`ResolvedTarget`], which a
//! call looks up once. It has all that calls to the target need and that does not change from one to the next. The map
//! is bounded, since callers can name whatever they like, and forgets what nobody calls.

mod copies;
#[cfg(test)]
#[cfg(feature = "model")]
mod model;
mod peer;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

pub use copies::{Copied, Copies};
pub(crate) use copies::{KeptBytes, Place};
pub use peer::Peer;

use crate::error::InvokeError;
use crate::id::AppRef;
use crate::routing::Routed;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{RwLock, RwLockWriteGuard};

/// The bounds of [`Targets`].
#[derive(Clone, Copy, Debug)]
pub struct TargetsSettings {
    /// How many targets are known at once; beyond, the one used longest ago is let go.
    pub capacity: usize,
    /// How many of them may be whole URLs, each of which has connections of its own.
    pub urls: usize,
    /// For how long a target that nobody calls is known.
    pub idle: Duration,
}

impl Default for TargetsSettings {
    fn default() -> Self {
        Self {
            capacity: 1024,
            urls: 256,
            idle: Duration::from_secs(10 * 60),
        }
    }
}

/// A target that was found: where its calls go, and what they are held to.
#[derive(Debug)]
pub struct ResolvedTarget<C, P, M> {
    /// The generation of the configuration by which it was found.
    generation: u64,
    /// Whether the caller named a whole URL.
    is_url: bool,
    /// The endpoint outside of the mesh that has this name.
    pub(crate) external: Option<C>,
    /// The app that has this name; `None` for a URL.
    pub(crate) app: Option<App>,
    /// The policy for its calls; `None` costs them one comparison.
    pub(crate) policy: Option<P>,
    /// What is counted for it.
    pub(crate) meters: M,
    /// What the configuration does with its calls; `None` costs them one comparison.
    pub(crate) routed: Option<Arc<Routed>>,
}

/// An app that a caller named.
#[derive(Debug)]
pub(crate) enum App {
    /// The app of this sidecar.
    Own,
    /// The app of another sidecar.
    Peer(Arc<Peer>),
}

/// What a name turned out to be, before it is kept.
pub(crate) struct Bound<C, P, M> {
    pub(crate) is_url: bool,
    pub(crate) external: Option<C>,
    pub(crate) app: Option<App>,
    pub(crate) policy: Option<P>,
    pub(crate) meters: M,
    pub(crate) routed: Option<Arc<Routed>>,
}

/// All targets that are called. They outlive a change of the configuration: each is then found anew when it is called
/// next, and what is known of its endpoints goes on.
#[derive(Debug)]
pub struct Targets<C, P, M = ()> {
    settings: TargetsSettings,
    epoch: Instant,
    generations: AtomicU64,
    known: RwLock<Known<C, P, M>>,
}

#[derive(Debug)]
struct Known<C, P, M> {
    by_text: HashMap<Box<str>, Entry<C, P, M>>,
    /// One for each app, however callers spell it.
    peers: HashMap<AppRef, Weak<Peer>>,
}

#[derive(Debug)]
struct Entry<C, P, M> {
    /// Milliseconds after the epoch.
    used: AtomicU64,
    found: Arc<ResolvedTarget<C, P, M>>,
}

impl<C, P, M> Default for Targets<C, P, M> {
    fn default() -> Self {
        Self::new(TargetsSettings::default())
    }
}

impl<C, P, M> Targets<C, P, M> {
    /// No targets yet.
    pub fn new(settings: TargetsSettings) -> Self {
        Self {
            settings,
            epoch: Instant::now(),
            generations: AtomicU64::new(0),
            known: RwLock::new(Known {
                by_text: HashMap::new(),
                peers: HashMap::new(),
            }),
        }
    }

    /// A number for a generation of the configuration. What was found by another one is found anew.
    pub(crate) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// The target of this name. What is not known, or was found by another generation, is looked for by `bind`.
    pub(crate) fn find(
        &self,
        text: &str,
        generation: u64,
        bind: impl FnOnce() -> Result<Bound<C, P, M>, InvokeError>,
    ) -> Result<Arc<ResolvedTarget<C, P, M>>, InvokeError> {
        let now = self.now();
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = known.by_text.get(text)
                && entry.found.generation == generation
            {
                entry.used.store(now, Ordering::Relaxed);
                return Ok(Arc::clone(&entry.found));
            }
        }
        let bound = bind()?;
        let found = Arc::new(ResolvedTarget {
            generation,
            is_url: bound.is_url,
            external: bound.external,
            app: bound.app,
            policy: bound.policy,
            meters: bound.meters,
            routed: bound.routed,
        });
        let entry = Entry {
            used: AtomicU64::new(now),
            found: Arc::clone(&found),
        };
        let mut known = self.write();
        let replaced = known.by_text.insert(text.into(), entry);
        let evicted = replaced.is_none().then(|| known.make_room(&self.settings, text));
        drop(known);
        // Outside of the lock: connections and watches end with the last who holds them.
        drop((replaced, evicted));
        Ok(found)
    }

    /// The sidecars of an app, shared by all who name it.
    pub(crate) fn peer(&self, app: &AppRef) -> Arc<Peer> {
        let mut known = self.write();
        if let Some(peer) = known.peers.get(app).and_then(Weak::upgrade) {
            return peer;
        }
        known.peers.retain(|_, peer| peer.strong_count() > 0);
        let peer = Arc::new(Peer::new(app.clone()));
        known.peers.insert(app.clone(), Arc::downgrade(&peer));
        peer
    }

    /// The apps of other sidecars that are called. For whoever shows them: it holds up who looks for a new target.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.peers.values().filter_map(Weak::upgrade).collect()
    }

    /// Lets go of targets that nobody has called for the idle time.
    pub fn sweep(&self) {
        let now = self.now();
        let idle = self.settings.idle.as_millis() as u64;
        let mut known = self.write();
        let is_idle = |entry: &Entry<C, P, M>| now.saturating_sub(entry.used.load(Ordering::Relaxed)) >= idle;
        let swept: Vec<_> = known.by_text.extract_if(|_, entry| is_idle(entry)).collect();
        drop(known);
        drop(swept);
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known<C, P, M>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C, P, M> Known<C, P, M> {
    /// Takes out the target that was used longest ago, when there is one too many of all or of its kind.
    fn make_room(&mut self, settings: &TargetsSettings, new: &str) -> Option<Entry<C, P, M>> {
        let is_url = self.by_text.get(new).is_some_and(|entry| entry.found.is_url);
        let urls = || self.by_text.values().filter(|entry| entry.found.is_url).count();
        let has_too_many_urls = is_url && urls() > settings.urls;
        if !has_too_many_urls && self.by_text.len() <= settings.capacity {
            return None;
        }
        let others = self
            .by_text
            .iter()
            .filter(|(text, entry)| &***text != new && (entry.found.is_url || !has_too_many_urls));
        let oldest = others.min_by_key(|(_, entry)| entry.used.load(Ordering::Relaxed));
        let oldest = oldest.map(|(text, _)| text.clone())?;
        self.by_text.remove(&oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::{Cause, TargetError};

    type Known = Targets<&'static str, u32>;

    fn bound(is_url: bool) -> Bound<&'static str, u32, ()> {
        Bound {
            is_url,
            external: is_url.then_some("channel"),
            app: (!is_url).then_some(App::Own),
            policy: None,
            meters: (),
            routed: None,
        }
    }

    fn find(targets: &Known, text: &str) -> Arc<ResolvedTarget<&'static str, u32, ()>> {
        let is_url = text.starts_with("http");
        targets.find(text, 0, || Ok(bound(is_url))).unwrap()
    }

    fn names(targets: &Known) -> Vec<String> {
        let known = targets.known.read().unwrap();
        let mut names: Vec<_> = known.by_text.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn a_target_is_looked_for_once_in_each_generation() {
        let targets = Known::default();
        let first = find(&targets, "a");
        let again = targets.find("a", 0, || panic!("it is known")).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let new = targets.find("a", 1, || Ok(bound(false))).unwrap();
        assert!(!Arc::ptr_eq(&first, &new));
        assert_eq!(names(&targets), ["a"]);
    }

    #[test]
    fn what_cannot_be_found_is_not_kept() {
        let targets = Known::default();
        let refused = || {
            Err(InvokeError::unsent(
                Fault::Caller,
                Cause::from(TargetError::Empty),
            ))
        };
        assert!(targets.find("a", 0, refused).is_err());
        assert!(names(&targets).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_targets_is_bounded() {
        let targets = Known::new(TargetsSettings {
            capacity: 3,
            urls: 1,
            idle: Duration::from_secs(60),
        });
        for text in ["a", "http://a", "http://b", "b", "c"] {
            find(&targets, text);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(names(&targets), ["b", "c", "http://b"]);
        tokio::time::advance(Duration::from_secs(55)).await;
        find(&targets, "b");
        tokio::time::advance(Duration::from_secs(30)).await;
        targets.sweep();
        assert_eq!(names(&targets), ["b"], "the others were not called for a minute");
    }

    #[test]
    fn an_app_has_one_watch_however_it_is_named() {
        let targets = Known::default();
        let app = AppRef::new("a", "default");
        let peer = targets.peer(&app);
        assert!(Arc::ptr_eq(&peer, &targets.peer(&app)));
        assert_eq!(targets.peers().len(), 1);
        drop(peer);
        assert!(targets.peers().is_empty());
        targets.peer(&AppRef::new("b", "default"));
        let known = targets.known.read().unwrap();
        assert_eq!(known.peers.len(), 1, "what nobody holds is forgotten");
    }
}
