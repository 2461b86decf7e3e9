//! The apps that calls go to, each with its watched endpoints.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::{EndpointWatch, Picked, Resolution};
use crate::error::{Fault, InvokeError, ResolveError};
use crate::id::AppRef;
use crate::ports::Resolver;

/// The bounds of a [`Directory`]: callers can name as many apps as they like.
#[derive(Clone, Copy, Debug)]
pub struct DirectorySettings {
    /// How many apps are watched at once; beyond, the one used longest ago is let go.
    pub capacity: usize,
    /// How long an app that nobody calls is watched.
    pub idle: Duration,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        Self {
            capacity: 1024,
            idle: Duration::from_secs(10 * 60),
        }
    }
}

/// Watches the apps that are called and picks endpoints for calls.
pub struct Directory {
    resolver: Arc<dyn Resolver>,
    settings: DirectorySettings,
    epoch: Instant,
    apps: RwLock<HashMap<AppRef, Arc<App>>>,
}

struct App {
    /// Milliseconds after the directory's epoch.
    used: AtomicU64,
    watch: EndpointWatch,
}

impl Directory {
    /// A directory on top of a resolver.
    pub fn new(resolver: Arc<dyn Resolver>, settings: DirectorySettings) -> Self {
        Self {
            resolver,
            settings,
            epoch: Instant::now(),
            apps: RwLock::default(),
        }
    }

    /// Picks an endpoint of `app`, waiting for the resolver if it has not answered yet.
    pub async fn pick(&self, app: &AppRef) -> Result<Picked, InvokeError> {
        let entry = self.entry(app);
        if let Some(picked) = entry.watch.pick(&[]) {
            return Ok(picked);
        }
        let failure = match entry.watch.first().await {
            Resolution::Failed(error) => error,
            Resolution::Pending | Resolution::Endpoints(_) => match entry.watch.pick(&[]) {
                Some(picked) => return Ok(picked),
                None => ResolveError::new(format!("resolver returned empty address for app id {app}")),
            },
        };
        self.forget(app, &entry);
        Err(InvokeError::unsent(Fault::Peer, failure))
    }

    /// Picks an endpoint that is not among those tried, if there is one.
    pub fn pick_other(&self, app: &AppRef, tried: &[Picked]) -> Option<Picked> {
        self.entry(app).watch.pick(tried)
    }

    /// Takes an endpoint that could not be reached out of the choice for a while, and tells the resolver.
    pub fn unreachable(&self, app: &AppRef, picked: &Picked) {
        picked.failed();
        self.resolver.unreachable(app, picked.endpoint());
    }

    /// Lets go of apps that nobody has called for the idle time.
    pub fn sweep(&self) {
        let now = self.now();
        let idle = self.settings.idle.as_millis() as u64;
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.retain(|_, app| now.saturating_sub(app.used.load(Ordering::Relaxed)) < idle);
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn entry(&self, app: &AppRef) -> Arc<App> {
        let known = self
            .apps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(app)
            .cloned();
        if let Some(entry) = known
            && entry.watch.is_alive()
        {
            entry.used.store(self.now(), Ordering::Relaxed);
            return entry;
        }
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = apps.get(app)
            && entry.watch.is_alive()
        {
            return Arc::clone(entry);
        }
        if apps.len() >= self.settings.capacity {
            let oldest = apps
                .iter()
                .min_by_key(|(_, entry)| entry.used.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(app, _)| app.clone()) {
                apps.remove(&oldest);
            }
        }
        let entry = Arc::new(App {
            used: AtomicU64::new(self.now()),
            watch: self.resolver.watch(app),
        });
        apps.insert(app.clone(), Arc::clone(&entry));
        entry
    }

    /// Forgets a failed answer, so that the next call asks anew.
    fn forget(&self, app: &AppRef, failed: &Arc<App>) {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        if apps.get(app).is_some_and(|entry| Arc::ptr_eq(entry, failed)) {
            apps.remove(app);
        }
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{Endpoint, Publisher, watched};
    use super::*;

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

    fn directory(settings: DirectorySettings) -> (Arc<Scripted>, Arc<Directory>) {
        let resolver = Arc::new(Scripted::default());
        (resolver.clone(), Arc::new(Directory::new(resolver, settings)))
    }

    fn app(id: &str) -> AppRef {
        AppRef::new(id, "default")
    }

    #[tokio::test]
    async fn the_first_answer_is_awaited_and_shared() {
        let (resolver, directory) = directory(DirectorySettings::default());
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let directory = directory.clone();
                tokio::spawn(async move { directory.pick(&app("a")).await.map(|p| p.endpoint().clone()) })
            })
            .collect();
        tokio::task::yield_now().await;
        resolver.say(0, &[1]);
        for task in waiting {
            assert_eq!(task.await.unwrap().unwrap(), Endpoint::new("127.0.0.1:1"));
        }
        assert_eq!(resolver.watches(), 1);
    }

    #[tokio::test]
    async fn later_answers_replace_the_endpoints_and_keep_the_counts() {
        let (resolver, directory) = directory(DirectorySettings::default());
        directory.entry(&app("a"));
        resolver.say(0, &[1, 2]);
        let held = directory.pick(&app("a")).await.unwrap();
        let kept = held.endpoint().clone();
        resolver.say(0, &[1, 2, 3]);
        for _ in 0..50 {
            // The endpoint with a call in flight loses against any other one.
            let other = directory.pick_other(&app("a"), std::slice::from_ref(&held));
            assert_ne!(*other.unwrap().endpoint(), kept);
        }
        resolver.say(0, &[3]);
        assert_eq!(
            *directory.pick(&app("a")).await.unwrap().endpoint(),
            Endpoint::new("127.0.0.1:3")
        );
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_asked_anew() {
        let (resolver, directory) = directory(DirectorySettings::default());
        directory.entry(&app("a"));
        resolver.publishers.lock().unwrap()[0].fail(ResolveError::new("couldn't find service: a"));
        let error = directory.pick(&app("a")).await.unwrap_err();
        assert_eq!(error.to_string(), "couldn't find service: a");
        directory.entry(&app("a"));
        assert_eq!(resolver.watches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_watched_apps_is_bounded() {
        let settings = DirectorySettings {
            capacity: 2,
            idle: Duration::from_secs(60),
        };
        let (resolver, directory) = directory(settings);
        for id in ["a", "b", "c"] {
            directory.entry(&app(id));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(directory.apps.read().unwrap().len(), 2);
        assert!(!directory.apps.read().unwrap().contains_key(&app("a")));
        tokio::time::advance(Duration::from_secs(60)).await;
        directory.sweep();
        assert!(directory.apps.read().unwrap().is_empty());
        assert!(
            resolver
                .publishers
                .lock()
                .unwrap()
                .iter()
                .all(Publisher::is_closed)
        );
    }

    #[tokio::test]
    async fn the_resolver_hears_of_unreachable_endpoints() {
        let (resolver, directory) = directory(DirectorySettings::default());
        directory.entry(&app("a"));
        resolver.say(0, &[1, 2]);
        let picked = directory.pick(&app("a")).await.unwrap();
        directory.unreachable(&app("a"), &picked);
        assert_eq!(*resolver.unreachable.lock().unwrap(), [picked.endpoint().clone()]);
        for _ in 0..20 {
            assert_ne!(
                directory.pick(&app("a")).await.unwrap().endpoint(),
                picked.endpoint()
            );
        }
    }

    #[tokio::test]
    async fn a_closed_resolver_is_asked_again() {
        let (resolver, directory) = directory(DirectorySettings::default());
        directory.entry(&app("a"));
        resolver.publishers.lock().unwrap().clear();
        directory.entry(&app("a"));
        assert_eq!(resolver.watches(), 1, "the second watch replaced the first");
    }
}
