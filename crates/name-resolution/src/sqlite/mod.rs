//! SQLite: sidecars of one host share a database file. The schema is that of Go sidecars, which may share it.

mod database;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::registry::{InitError, Instance};
use crate::settings::{Settings, SettingsError};
use database::Database;
use worker::{Command, Worker};

/// What the log calls this resolver.
const COMPONENT: &str = "nr (sqlite/v1)";
/// SQLite counts milliseconds in 32 bits.
const LONGEST_BUSY_TIMEOUT: Duration = Duration::from_secs(24 * 24 * 3600);
/// How many commands wait for the thread. A database that somebody holds locked stops it for as long as it may wait.
const QUEUE: usize = 8192;
/// A row that is renewed a little late is not dead.
const SLACK: Duration = Duration::from_secs(1);

/// The settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct SqliteSettings {
    pub(crate) path: String,
    pub(crate) busy_timeout: Duration,
    pub(crate) uses_wal: bool,
    pub(crate) table: String,
    pub(crate) metadata_table: String,
    pub(crate) timeout: Duration,
    pub(crate) update_interval: Duration,
    /// `None` when nothing is cleaned up.
    pub(crate) cleanup_interval: Option<Duration>,
}

impl SqliteSettings {
    pub(crate) fn of(configuration: &Value) -> Result<Self, String> {
        let settings = Settings::of(configuration).map_err(|error| error.to_string())?;
        let text = |error: SettingsError| error.to_string();
        let path = settings
            .text(&["connectionString", "url"])
            .unwrap_or_default()
            .to_owned();
        if path.is_empty() {
            return Err("missing connection string".to_owned());
        }
        let timeout = settings
            .duration("timeout", "timeoutInSeconds", Duration::from_secs(1))
            .map_err(text)?;
        if timeout < Duration::from_secs(1) {
            return Err("invalid value for 'timeout': must be greater than 1s".to_owned());
        }
        let table = settings.text(&["tableName"]).unwrap_or("hosts").to_owned();
        let metadata_table = settings
            .text(&["metadataTableName"])
            .unwrap_or("metadata")
            .to_owned();
        for (name, label) in [(&table, "table name"), (&metadata_table, "metadata table name")] {
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err(format!("invalid identifier for {label}: {name}"));
            }
        }
        let update_interval = settings
            .duration("updateInterval", "", Duration::from_secs(5))
            .map_err(text)?;
        if update_interval.subsec_nanos() != 0 {
            return Err("update interval must not contain fractions of seconds".to_owned());
        }
        if update_interval < timeout + Duration::from_secs(1) {
            return Err("update interval must be at least 1s greater than timeout".to_owned());
        }
        let hour = Duration::from_secs(3600);
        let cleanup = settings
            .duration("cleanupInterval", "cleanupIntervalInSeconds", hour)
            .map_err(text)?;
        let busy_timeout = settings
            .duration("busyTimeout", "", Duration::from_millis(800))
            .map_err(text)?;
        if busy_timeout > LONGEST_BUSY_TIMEOUT {
            return Err("invalid value for 'busyTimeout': must not be greater than 576h".to_owned());
        }
        Ok(Self {
            path,
            busy_timeout,
            uses_wal: !settings.flag("disableWAL"),
            table,
            metadata_table,
            timeout,
            update_interval,
            cleanup_interval: (!cleanup.is_zero()).then_some(cleanup),
        })
    }

    /// How often the row is renewed: often enough that it never looks dead to others.
    fn renewal(&self) -> Duration {
        self.update_interval.saturating_sub(self.timeout)
    }

    /// For how long a row counts that is not renewed.
    fn lifetime(&self) -> Duration {
        self.update_interval + SLACK
    }
}

/// Finds sidecars in a table and keeps this one in it. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    worker: SyncSender<Command>,
    /// Where the row is: the file and the table.
    place: Arc<str>,
}

impl Sqlite {
    /// Registers this sidecar. All work with the database is done by one thread.
    pub(crate) async fn start(configuration: &Value, instance: &Instance) -> Result<Self, InitError> {
        for (is_missing, text) in [
            (instance.app_id.is_empty(), "name is missing"),
            (instance.address.is_empty(), "address is missing"),
            (instance.internal_port == 0, "port is missing or invalid"),
        ] {
            if is_missing {
                return Err(InitError::Init(text.to_owned()));
            }
        }
        let settings = SqliteSettings::of(configuration).map_err(InitError::Init)?;
        let place = format!("sqlite {} {}", settings.path, settings.table).into();
        let (worker, queue) = mpsc::sync_channel(QUEUE);
        let (ready, wait) = oneshot::channel();
        let (app_id, address) = (instance.app_id.clone(), address(instance));
        thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || match Database::open(&settings, app_id, address) {
                Ok(database) => {
                    let _ = ready.send(Ok(()));
                    Worker::new(database, settings.renewal(), settings.lifetime()).run(&queue);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(|error| InitError::Init(error.to_string()))?;
        wait.await
            .map_err(|_| InitError::Init("the database thread ended".to_owned()))?
            .map_err(InitError::Init)?;
        Ok(Self { worker, place })
    }

    /// Where this sidecar is registered.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Takes this sidecar out of the table. Resolving goes on.
    pub(crate) async fn close(&self) {
        self.order(Command::Withdraw).await;
    }

    /// Leaves the row to whoever has written it since. Resolving goes on.
    pub(crate) async fn leave(&self) {
        self.order(Command::Leave).await;
    }

    async fn order(&self, command: fn(oneshot::Sender<()>) -> Command) {
        let (done, wait) = oneshot::channel();
        let worker = self.worker.clone();
        // It is heard however full the queue is.
        let sent = tokio::task::spawn_blocking(move || worker.send(command(done)));
        if let Ok(Ok(())) = sent.await {
            let _ = wait.await;
        }
    }
}

fn address(instance: &Instance) -> String {
    let host = &instance.address;
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    let port = instance.internal_port;
    if is_bare_v6 {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl Resolver for Sqlite {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (watcher, watch) = watched();
        let id = app.id.as_str().to_owned();
        // Without the thread the watcher is gone, and whoever waits is told that the resolver was closed.
        if let Err(TrySendError::Full(Command::Watch(id, watcher))) =
            self.worker.try_send(Command::Watch(id, watcher))
        {
            let text = format!("{QUEUE} apps wait to be looked up already, and app id {id} is one more");
            watcher.fail(ResolveError::new(text));
        }
        watch
    }

    fn unreachable(&self, _app: &AppRef, _endpoint: &Endpoint) {
        // When the queue is full the table is read soon without.
        let _ = self.worker.try_send(Command::Refresh);
    }
}

#[cfg(test)]
mod tests;
