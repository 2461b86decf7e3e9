//! The world of a simulation: instances, the network between them and callers, and a clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use invoke_core::balance::Endpoint;
use tokio::time::{Instant, timeout_at};
use transport::client::H2PoolConfig;

use crate::instance::Instance;
use crate::signal::Signal;
use crate::tally::Tally;

/// What there is outside of the sidecars that call.
pub(crate) struct World {
    begun: Instant,
    instances: Mutex<Vec<Arc<Instance>>>,
    /// The instances that resolvers know of.
    listed: Signal<Arc<Vec<Endpoint>>>,
    tally: Mutex<Tally>,
    /// Since when a third of all nodes is apart from the others.
    cut: Signal<Option<Instant>>,
    /// When connections across the last cut broke, in milliseconds.
    broken_at: Mutex<Option<u64>>,
    /// How many times the usual load there is.
    load: Mutex<f64>,
    /// How long a connection without traffic is believed in.
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world with so many instances, all of which are listed.
    pub(crate) fn new(instances: usize, places: usize) -> Arc<Self> {
        // The time limits are those of the connections of a sidecar.
        let pool = H2PoolConfig::default();
        let keep_alive = pool
            .keep_alive
            .map_or(Duration::MAX, |(after, patience)| after + patience);
        let world = Arc::new(Self {
            begun: Instant::now(),
            instances: Mutex::default(),
            listed: Signal::new(Arc::default()),
            tally: Mutex::default(),
            cut: Signal::new(None),
            broken_at: Mutex::new(None),
            load: Mutex::new(1.0),
            keep_alive,
            connect_timeout: pool.connect_timeout,
        });
        for _ in 0..instances {
            world.add(places);
        }
        world.list_all();
        world
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// The moment so many seconds after the beginning.
    pub(crate) fn at(&self, seconds: u64) -> Instant {
        self.begun + Duration::from_secs(seconds)
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    pub(crate) fn load(&self) -> f64 {
        *lock(&self.load)
    }

    pub(crate) fn set_load(&self, times: f64) {
        *lock(&self.load) = times;
    }

    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        lock(&self.instances).clone()
    }

    pub(crate) fn instance(&self, id: usize) -> Arc<Instance> {
        Arc::clone(&lock(&self.instances)[id])
    }

    /// The instance at an address, whose first part is its number.
    pub(crate) fn addressed(&self, endpoint: &Endpoint) -> Option<Arc<Instance>> {
        let (id, _) = endpoint.address().split_once(':')?;
        lock(&self.instances).get(id.parse::<usize>().ok()?).cloned()
    }

    /// A new instance, which nobody knows of yet.
    pub(crate) fn add(&self, places: usize) -> Arc<Instance> {
        let mut instances = lock(&self.instances);
        let instance = Arc::new(Instance::new(instances.len(), places));
        instances.push(Arc::clone(&instance));
        instance
    }

    fn list_all(&self) {
        let all = self.instances().iter().map(|one| one.endpoint.clone()).collect();
        self.listed.change(|listed| *listed = Arc::new(all));
    }

    /// Resolvers get to know of an instance.
    pub(crate) fn list(&self, instance: &Instance) {
        self.listed
            .change(|listed| Arc::make_mut(listed).push(instance.endpoint.clone()));
    }

    /// Resolvers get to know that an instance is gone.
    pub(crate) fn withdraw(&self, instance: &Instance) {
        self.listed
            .change(|listed| Arc::make_mut(listed).retain(|one| *one != instance.endpoint));
    }

    pub(crate) fn listed(&self) -> &Signal<Arc<Vec<Endpoint>>> {
        &self.listed
    }

    /// A third of all nodes is apart from the others from now on.
    pub(crate) fn cut(&self) {
        self.cut.change(|cut| *cut = Some(Instant::now()));
    }

    /// All nodes reach each other again.
    pub(crate) fn join(&self) {
        if let Some(since) = self.cut.change(|cut| *cut = None)
            && since.elapsed() >= self.keep_alive
        {
            let broken = since + self.keep_alive;
            *lock(&self.broken_at) = Some((broken - self.begun).as_millis() as u64);
        }
    }

    /// Whether a node is in the smaller part when there is a cut.
    fn is_apart(node: usize) -> bool {
        node.is_multiple_of(3)
    }

    /// Whether there is a cut between two nodes when there is one.
    pub(crate) fn are_parted(caller: usize, instance: usize) -> bool {
        Self::is_apart(caller) != Self::is_apart(instance)
    }

    /// Waits until a caller reaches an instance; `false` when it does not for so long after the cut began, or after now.
    pub(crate) async fn reaches(&self, caller: usize, instance: usize, patience: Patience) -> bool {
        let since = self.cut.get();
        let Some(since) = since.filter(|_| Self::are_parted(caller, instance)) else {
            return true;
        };
        let until = match patience {
            Patience::OfDial => Instant::now() + self.connect_timeout,
            Patience::OfConnection => since + self.keep_alive,
        };
        let mut cut = self.cut.waiting();
        timeout_at(until, cut.until(Option::is_none)).await.is_ok()
    }

    /// Whether a connection that was made then is still there, as far as the network goes.
    pub(crate) fn holds(&self, caller: usize, instance: usize, made: u64) -> bool {
        if !Self::are_parted(caller, instance) {
            return true;
        }
        let is_broken_now = self
            .cut
            .get()
            .is_some_and(|since| since.elapsed() >= self.keep_alive);
        !is_broken_now && lock(&self.broken_at).is_none_or(|broken| made > broken)
    }
}

/// Who waits for a way through a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// A connection that is being made.
    OfDial,
    /// A connection that is there, which is given up when nothing answers a ping.
    OfConnection,
}
