//! The table of hosts.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::COMPONENT;
use super::SqliteSettings;

const LEVEL: &str = "nr-migrations";
const CLEANED: &str = "nr-last-cleanup";
/// Further addresses of an app are left out.
const MOST_ADDRESSES: usize = 1024;
/// For how long a start tries what others keep it from, and how long it pauses in between.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(25);

/// The database, with this sidecar's row.
pub(super) struct Database {
    connection: Connection,
    settings: SqliteSettings,
    app_id: String,
    address: String,
    is_registered: bool,
    cleaned: u64,
}

impl Database {
    pub(super) fn open(settings: &SqliteSettings, app_id: String, address: String) -> Result<Self, String> {
        let connection =
            connect(settings).map_err(|error| format!("failed to create connection: {error}"))?;
        let cleaned = now();
        let settings = settings.clone();
        let mut database = Self {
            connection,
            settings,
            app_id,
            address,
            is_registered: false,
            cleaned,
        };
        patiently(|| database.migrate()).map_err(|error| format!("failed to perform migrations: {error}"))?;
        patiently(|| database.register()).map_err(|error| format!("failed to register host: {error}"))?;
        Ok(database)
    }

    fn migrate(&mut self) -> rusqlite::Result<()> {
        let (table, metadata) = (&self.settings.table, &self.settings.metadata_table);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Exclusive)?;
        transaction.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {metadata} (key text NOT NULL PRIMARY KEY, value text NOT NULL);"
        ))?;
        let level: Option<String> = transaction
            .query_row(
                &format!("SELECT value FROM {metadata} WHERE key = ?1"),
                [LEVEL],
                |row| row.get(0),
            )
            .optional()?;
        let level = match level {
            None => 0,
            Some(text) => text.parse::<i64>().map_err(|_| {
                let error = format!("invalid migration level found in metadata table: {text}");
                rusqlite::Error::ToSqlConversionFailure(error.into())
            })?,
        };
        if level == 0 {
            transaction.execute_batch(&format!(
                "CREATE TABLE {table} (
                    registration_id TEXT NOT NULL PRIMARY KEY,
                    address TEXT NOT NULL,
                    app_id TEXT NOT NULL,
                    namespace TEXT NOT NULL,
                    last_update INTEGER NOT NULL
                );
                CREATE UNIQUE INDEX {table}_address_idx ON {table} (address);
                CREATE INDEX {table}_last_update_idx ON {table} (last_update);"
            ))?;
            transaction.execute(
                &format!("REPLACE INTO {metadata} (key, value) VALUES (?1, '1')"),
                [LEVEL],
            )?;
        }
        transaction.commit()
    }

    fn register(&mut self) -> rusqlite::Result<()> {
        let statement = format!(
            "REPLACE INTO {} (registration_id, address, app_id, namespace, last_update) VALUES (?1, ?2, ?3, '', ?4)",
            self.settings.table
        );
        let id = uuid::Uuid::new_v4().to_string();
        self.connection
            .execute(&statement, params![id, self.address, self.app_id, now()])?;
        self.is_registered = true;
        Ok(())
    }

    /// Says that this sidecar lives. A row that somebody removed is put back.
    pub(super) fn renew(&mut self) -> rusqlite::Result<()> {
        if !self.is_registered {
            return Ok(());
        }
        let statement = format!(
            "UPDATE {} SET last_update = ?1 WHERE address = ?2 AND app_id = ?3",
            self.settings.table
        );
        if self
            .connection
            .execute(&statement, params![now(), self.address, self.app_id])?
            == 0
        {
            tracing::warn!(target: "dapr.contrib", component = COMPONENT, "host registration was lost and is made anew");
            self.register()?;
        }
        self.clean_up()
    }

    /// Removes rows that nobody renews any more.
    fn clean_up(&mut self) -> rusqlite::Result<()> {
        let Some(interval) = self.settings.cleanup_interval else {
            return Ok(());
        };
        if now().saturating_sub(self.cleaned) < interval.as_secs() {
            return Ok(());
        }
        self.cleaned = now();
        let (table, metadata) = (&self.settings.table, &self.settings.metadata_table);
        let dead = now().saturating_sub(self.settings.lifetime().as_secs());
        self.connection
            .execute(&format!("DELETE FROM {table} WHERE last_update < ?1"), [dead])?;
        self.connection.execute(
            &format!("REPLACE INTO {metadata} (key, value) VALUES (?1, datetime('now'))"),
            [CLEANED],
        )?;
        Ok(())
    }

    /// The addresses of each of these apps whose rows are fresh, in order. Apps without one are left out.
    ///
    /// The table has no index by app, so one query for all reads what one for a single app does: every living row.
    pub(super) fn find<'a>(
        &self,
        app_ids: impl Iterator<Item = &'a str>,
    ) -> rusqlite::Result<HashMap<String, Vec<String>>> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT app_id, address FROM {} WHERE last_update >= ?1 \
             AND app_id IN (SELECT value FROM json_each(?2)) ORDER BY address",
            self.settings.table
        ))?;
        let oldest = now().saturating_sub(self.settings.lifetime().as_secs());
        let app_ids = app_ids.collect::<serde_json::Value>().to_string();
        let mut rows = statement.query(params![oldest, app_ids])?;
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        while let Some(row) = rows.next()? {
            // What is no text is not from a sidecar, and no reason to find nobody.
            let (Ok(app_id), Ok(address)) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str()) else {
                continue;
            };
            let addresses = match found.get_mut(app_id) {
                Some(addresses) => addresses,
                None => found.entry(app_id.to_owned()).or_default(),
            };
            if addresses.len() < MOST_ADDRESSES {
                addresses.push(address.to_owned());
            }
        }
        Ok(found)
    }

    /// The row is somebody else's from now on: it is neither renewed nor removed.
    pub(super) fn leave(&mut self) {
        self.is_registered = false;
    }

    /// Removes this sidecar's row.
    pub(super) fn withdraw(&mut self) -> Result<(), String> {
        if !self.is_registered {
            return Ok(());
        }
        let statement = format!(
            "DELETE FROM {} WHERE address = ?1 AND app_id = ?2",
            self.settings.table
        );
        match self
            .connection
            .execute(&statement, params![self.address, self.app_id])
        {
            Ok(deleted) => {
                self.is_registered = false;
                if deleted == 0 {
                    return Err("no row deleted".to_owned());
                }
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn connect(settings: &SqliteSettings) -> Result<Connection, String> {
    let path = settings.path.as_str();
    let uri = if path.to_lowercase().starts_with("file:") {
        path.to_owned()
    } else {
        format!("file:{path}")
    };
    let (uri, query) = uri.split_once('?').unwrap_or((&uri, ""));
    for pair in query.split('&') {
        for forbidden in ["busy_timeout", "journal_mode", "foreign_keys"] {
            if pair.starts_with(&format!("_pragma={forbidden}")) {
                return Err(format!(
                    "found forbidden option '_pragma={forbidden}' in the connection string"
                ));
            }
        }
    }
    // Options of Go's driver mean nothing to SQLite itself.
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with('_'))
        .collect();
    let is_read_only = kept.iter().any(|pair| matches!(*pair, "mode=ro" | "immutable=1"));
    let is_in_memory = uri == "file::memory:" || kept.contains(&"mode=memory");
    let uri = if kept.is_empty() {
        uri.to_owned()
    } else {
        format!("{uri}?{}", kept.join("&"))
    };
    let connection = Connection::open(uri).map_err(|error| error.to_string())?;
    let journal = match () {
        () if is_in_memory => "MEMORY",
        () if is_read_only || !settings.uses_wal => "DELETE",
        () => "WAL",
    };
    if is_in_memory {
        tracing::warn!(
            target: "dapr.contrib",
            component = COMPONENT,
            "the name resolver uses a database in memory, which no other process can see"
        );
    }
    connection
        .busy_timeout(settings.busy_timeout)
        .map_err(|error| error.to_string())?;
    patiently(|| connection.pragma_update(None, "journal_mode", journal))
        .map_err(|error| error.to_string())?;
    Ok(connection)
}

/// Tries again while somebody else has the file. SQLite does not wait by itself where it fears a deadlock: when two
/// change the journal mode of a new file at once, one is told at once that it is locked.
fn patiently<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(error) if is_locked(&error) && begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
