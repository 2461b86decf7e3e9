//! The thread that owns the database: it answers all who watch with one query, and keeps this sidecar's row alive.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use invoke_core::balance::{Endpoint, Publisher, Resolution};
use invoke_core::error::ResolveError;
use tokio::sync::oneshot;

use super::COMPONENT;
use super::database::Database;

/// How often those who are watched are looked up again.
const REFRESH: Duration = Duration::from_millis(500);
/// How often at most, when sidecars cannot be reached.
const SOONEST: Duration = Duration::from_millis(50);
/// How many commands are taken before the schedule is looked at.
const BATCH: usize = 16 * 1024;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Command {
    /// Looks an app up again and again, as long as somebody watches and it is there.
    Watch(String, Publisher),
    /// Somebody could not be reached: the table may know better already.
    Refresh,
    /// Takes the row out.
    Withdraw(oneshot::Sender<()>),
    /// Leaves the row to somebody else.
    Leave(oneshot::Sender<()>),
}

/// Those who watch, by app id.
type Watchers = HashMap<String, Vec<Publisher>>;

/// What the thread knows.
pub(super) struct Worker {
    database: Database,
    /// Who was answered, and is told of changes.
    watchers: Watchers,
    /// Who waits for the first answer.
    pending: Watchers,
    /// When those who watch were answered last.
    refreshed: Instant,
    /// When they are to be answered next.
    refresh: Instant,
    /// When the table could be read last, and for how long what it said is good without.
    read: Instant,
    lifetime: Duration,
    /// It could not be read the last time, which is logged once.
    is_unreadable: bool,
    /// When the row is to be renewed next, and how often.
    renew: Instant,
    renewal: Duration,
}

impl Worker {
    /// `renewal` is how often the row is renewed, `lifetime` for how long rows count.
    pub(super) fn new(database: Database, renewal: Duration, lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            database,
            watchers: Watchers::new(),
            pending: Watchers::new(),
            refreshed: now,
            refresh: now,
            read: now,
            lifetime,
            is_unreadable: false,
            renew: now + renewal,
            renewal,
        }
    }

    /// Works until nobody can send commands any more, then takes the row out.
    pub(super) fn run(mut self, queue: &Receiver<Command>) {
        loop {
            match queue.recv_timeout(self.due().saturating_duration_since(Instant::now())) {
                Ok(command) => {
                    self.take(command);
                    queue
                        .try_iter()
                        .take(BATCH)
                        .for_each(|command| self.take(command));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.work();
        }
        self.withdraw();
    }

    /// When there is something to do without a command.
    pub(super) fn due(&self) -> Instant {
        if self.watchers.is_empty() {
            self.renew
        } else {
            self.renew.min(self.refresh)
        }
    }

    /// Takes a command in; [`Self::work`] is to follow.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Watch(_, watcher) if watcher.is_closed() => {}
            Command::Watch(app_id, watcher) => self.pending.entry(app_id).or_default().push(watcher),
            Command::Refresh => self.refresh = self.refresh.min(self.refreshed + SOONEST),
            Command::Withdraw(done) => {
                self.withdraw();
                let _ = done.send(());
            }
            Command::Leave(done) => {
                self.database.leave();
                let _ = done.send(());
            }
        }
    }

    /// Does what is due.
    pub(super) fn work(&mut self) {
        if Instant::now() >= self.renew {
            self.renew();
        }
        let pending = std::mem::take(&mut self.pending);
        if self.watchers.is_empty() {
            self.refreshed = Instant::now();
            self.refresh = self.refreshed + REFRESH;
        }
        for (app_id, watchers) in self.answer(pending) {
            self.watchers.entry(app_id).or_default().extend(watchers);
        }
        let begun = Instant::now();
        if begun >= self.refresh {
            let watchers = std::mem::take(&mut self.watchers);
            self.watchers = self.answer(watchers);
            self.refreshed = Instant::now();
            // A table that takes long to read is not read all the time.
            self.refresh = self.refreshed + REFRESH.max(self.refreshed - begun);
        }
    }

    fn renew(&mut self) {
        let renewed = self.database.renew();
        if let Err(error) = &renewed {
            tracing::error!(target: "dapr.contrib", component = COMPONENT, "failed to renew host registration: {error}");
        }
        // At the usual pace the row would be dead before the next try.
        let pause = if renewed.is_ok() { self.renewal } else { REFRESH };
        self.renew = Instant::now() + pause;
    }

    fn withdraw(&mut self) {
        if let Err(error) = self.database.withdraw() {
            tracing::error!(target: "dapr.contrib", component = COMPONENT, "failed to unregister host: {error}");
        }
    }

    /// Tells these what the table says, and returns those who are to be told again. Those who get an error are not:
    /// the next call asks anew.
    fn answer(&mut self, mut watchers: Watchers) -> Watchers {
        watchers.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.is_closed());
            !watchers.is_empty()
        });
        if watchers.is_empty() {
            return watchers;
        }
        match self.database.find(watchers.keys().map(String::as_str)) {
            Ok(found) => {
                self.read = Instant::now();
                self.is_unreadable = false;
                watchers.retain(|app_id, watchers| {
                    let Some(addresses) = found.get(app_id) else {
                        let failure = ResolveError::new("no host found with the given ID");
                        fail(watchers, &failure);
                        return false;
                    };
                    let endpoints = addresses.iter().map(|address| Endpoint::new(address.as_str()));
                    let endpoints: Vec<Endpoint> = endpoints.collect();
                    for watcher in watchers {
                        watcher.publish(endpoints.iter().cloned());
                    }
                    true
                });
            }
            Err(error) => self.answer_unread(&mut watchers, &error),
        }
        watchers
    }

    /// The same when the table cannot be read. Who was found before stays for as long as a row counts: somebody may
    /// have locked the file for a moment.
    fn answer_unread(&mut self, watchers: &mut Watchers, error: &rusqlite::Error) {
        if !std::mem::replace(&mut self.is_unreadable, true) {
            tracing::warn!(target: "dapr.contrib", component = COMPONENT, "failed to look up hosts: {error}");
        }
        let failure = ResolveError::new(format!("failed to look up address: {error}"));
        let is_old = self.read.elapsed() > self.lifetime;
        watchers.retain(|_, watchers| {
            let is_found = |watcher: &Publisher| matches!(watcher.now(), Resolution::Endpoints(_));
            let lost = watchers.extract_if(.., |watcher| is_old || !is_found(watcher));
            fail(&lost.collect::<Vec<_>>(), &failure);
            !watchers.is_empty()
        });
    }
}

fn fail(watchers: &[Publisher], failure: &ResolveError) {
    for watcher in watchers {
        watcher.fail(failure.clone());
    }
}
