use invoke_core::balance::Resolution;
use serde_json::json;

use super::*;

fn instance(app_id: &str, port: u16) -> Instance {
    Instance {
        app_id: app_id.into(),
        address: "10.0.0.1".into(),
        internal_port: port,
        http_port: 0,
        app_port: None,
        host_name: "h".into(),
    }
}

async fn resolver(folder: &tempfile::TempDir, app_id: &str, port: u16) -> Sqlite {
    let configuration = json!({"connectionString": folder.path().join("names.db")});
    Sqlite::start(&configuration, &instance(app_id, port))
        .await
        .unwrap()
}

async fn find(resolver: &Sqlite, id: &str) -> Result<Vec<String>, String> {
    match resolver.watch(&AppRef::new(id, "default")).first().await {
        Resolution::Endpoints(endpoints) => Ok(endpoints.iter().map(|e| e.address().to_string()).collect()),
        Resolution::Failed(error) => Err(error.to_string()),
        Resolution::Pending => unreachable!("waited for"),
    }
}

#[tokio::test]
async fn sidecars_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let a = resolver(&folder, "a", 1).await;
    let first = resolver(&folder, "b", 2).await;
    let second = resolver(&folder, "b", 3).await;
    assert_eq!(
        find(&a, "b").await,
        Ok(vec!["10.0.0.1:2".to_owned(), "10.0.0.1:3".to_owned()])
    );
    assert_eq!(find(&first, "a").await, Ok(vec!["10.0.0.1:1".to_owned()]));
    assert_eq!(
        find(&a, "c").await,
        Err("no host found with the given ID".to_owned())
    );
    first.close().await;
    second.close().await;
    assert!(find(&a, "b").await.is_err());
}

#[tokio::test]
async fn who_follows_in_the_same_place_keeps_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let looks = resolver(&folder, "looks", 9).await;
    let built = async |more: serde_json::Value| {
        let mut configuration = json!({"connectionString": folder.path().join("names.db")});
        configuration
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let means = crate::registry::Means::with_variables(|_| None);
        crate::registry::build("sqlite", "v1", &configuration, &instance("a", 1), &means)
            .await
            .unwrap()
    };
    let first = built(json!({})).await;
    let second = built(json!({"updateInterval": "7s"})).await;
    first.yield_to(&second).await;
    drop(first);
    assert_eq!(find(&looks, "a").await, Ok(vec!["10.0.0.1:1".to_owned()]));
    let elsewhere = built(json!({"tableName": "others", "metadataTableName": "about_others"})).await;
    second.yield_to(&elsewhere).await;
    assert!(
        find(&looks, "a").await.is_err(),
        "it is registered somewhere else"
    );
}

#[tokio::test]
async fn a_migration_level_that_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.db");
    for (level, wanted) in [
        (
            "'one'",
            Some("failed to perform migrations: invalid migration level found in metadata table: one"),
        ),
        ("'0'", None),
    ] {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let made = connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS metadata (key text NOT NULL PRIMARY KEY, value text NOT NULL);
             REPLACE INTO metadata VALUES ('nr-migrations', {level});"
        ));
        made.unwrap();
        drop(connection);
        let started = Sqlite::start(&json!({"connectionString": path}), &instance("a", 1)).await;
        assert_eq!(started.err().map(|error| error.to_string()).as_deref(), wanted);
    }
}

#[tokio::test]
async fn sidecars_that_start_at_once_do_not_keep_each_other_from_it() {
    for _ in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let starts = (1..=4).map(|port| resolver(&folder, "a", port));
        let all = futures_util::future::join_all(starts).await;
        assert_eq!(find(&all[0], "a").await.map(|found| found.len()), Ok(4));
    }
}

fn database(folder: &tempfile::TempDir) -> Database {
    let configuration = json!({"connectionString": folder.path().join("names.db")});
    let settings = SqliteSettings::of(&configuration).unwrap();
    Database::open(&settings, "a".into(), "10.0.0.1:1".into()).unwrap()
}

#[test]
fn a_lost_row_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = database(&folder);
    let other = rusqlite::Connection::open(folder.path().join("names.db")).unwrap();
    other.execute("DELETE FROM hosts", []).unwrap();
    assert!(database.find(["a"].into_iter()).unwrap().is_empty());
    database.renew().unwrap();
    assert_eq!(database.find(["a"].into_iter()).unwrap()["a"], ["10.0.0.1:1"]);
}

#[test]
fn one_query_finds_all() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let other = rusqlite::Connection::open(folder.path().join("names.db")).unwrap();
    for (address, app_id, is_fresh) in [
        ("10.0.0.3:1", "b", true),
        ("10.0.0.2:1", "b", true),
        ("10.0.0.4:1", "b", false),
        ("10.0.0.5:1", "old", false),
        ("10.0.0.6:1", "not asked for", true),
        ("10.0.0.7:1", "it's \"quoted\"", true),
    ] {
        let insert = "INSERT INTO hosts VALUES (?1, ?1, ?2, '', iif(?3, unixepoch(), unixepoch() - 3600))";
        other
            .execute(insert, rusqlite::params![address, app_id, is_fresh])
            .unwrap();
    }
    other
        .execute(
            "INSERT INTO hosts VALUES ('1', x'00ff', 'b', '', unixepoch())",
            [],
        )
        .unwrap();
    let asked = ["a", "b", "old", "it's \"quoted\"", "unknown"];
    let found = database.find(asked.into_iter()).unwrap();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found["a"], ["10.0.0.1:1"]);
    assert_eq!(found["b"], ["10.0.0.2:1", "10.0.0.3:1"]);
    assert_eq!(found["it's \"quoted\""], ["10.0.0.7:1"]);
    assert!(database.find(std::iter::empty()).unwrap().is_empty());
}

#[tokio::test]
async fn all_who_watch_hear_of_changes() {
    let folder = tempfile::tempdir().unwrap();
    let a = resolver(&folder, "a", 1).await;
    let first = resolver(&folder, "b", 2).await;
    let watches = [(); 3].map(|()| a.watch(&AppRef::new("b", "default")));
    let endpoints = |count| move |resolution: &Resolution| matches!(resolution, Resolution::Endpoints(all) if all.len() == count);
    for watch in &watches {
        watch.wait_for(endpoints(1)).await;
    }
    let second = resolver(&folder, "b", 3).await;
    for watch in &watches {
        watch.wait_for(endpoints(2)).await;
    }
    first.close().await;
    second.close().await;
    for mut watch in watches {
        let is_gone = |known: &Resolution| matches!(known, Resolution::Failed(_));
        watch.wait_for(is_gone).await;
        while watch.is_alive() && watch.changed().await {}
        assert!(!watch.is_alive(), "nobody looks any more");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn watch(worker: &mut Worker, app_id: &str) -> EndpointWatch {
    let (watcher, watch) = watched();
    worker.take(Command::Watch(app_id.into(), watcher));
    worker.work();
    watch
}

#[test]
fn who_cannot_be_reached_is_looked_up_soon() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::new(database(&folder), HOUR, HOUR);
    let row = worker.due();
    let watch = watch(&mut worker, "a");
    assert!(matches!(watch.now(), Resolution::Endpoints(_)));
    let regular = worker.due();
    assert!(regular < row);
    worker.take(Command::Refresh);
    assert!(worker.due() < regular);
}

#[test]
fn those_who_do_not_exist_are_not_looked_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::new(database(&folder), HOUR, HOUR);
    let row = worker.due();
    let watch = watch(&mut worker, "unknown");
    assert!(matches!(watch.now(), Resolution::Failed(_)));
    worker.take(Command::Watch("a".into(), watched().0));
    worker.work();
    assert_eq!(worker.due(), row, "nobody watches: the row is what is left");
}

#[tokio::test]
async fn the_resolver_hears_who_cannot_be_reached() {
    let (commands, queue) = mpsc::sync_channel(1);
    let resolver = Sqlite {
        worker: commands,
        place: "".into(),
    };
    resolver.unreachable(&AppRef::new("a", "default"), &Endpoint::new("10.0.0.1:1"));
    assert!(matches!(queue.try_recv(), Ok(Command::Refresh)));
}

/// A database that somebody holds locked stops the thread; what waits for it does not grow meanwhile.
#[tokio::test]
async fn the_queue_of_a_thread_that_stands_has_an_end() {
    let (commands, queue) = mpsc::sync_channel(2);
    let resolver = Sqlite {
        worker: commands,
        place: "".into(),
    };
    let watches = ["a", "b", "c"].map(|id| resolver.watch(&AppRef::new(id, "default")));
    for _ in 0..1000 {
        resolver.unreachable(&AppRef::new("a", "default"), &Endpoint::new("10.0.0.1:1"));
    }
    let Resolution::Failed(error) = watches[2].first().await else {
        unreachable!("it has no place");
    };
    assert_eq!(
        error.to_string(),
        "8192 apps wait to be looked up already, and app id c is one more"
    );
    // Who ends the sidecar waits for its turn.
    let closing = tokio::spawn(async move { resolver.close().await });
    let taken = tokio::task::spawn_blocking(move || queue.iter().take(3).collect::<Vec<_>>());
    let taken = taken.await.unwrap();
    assert!(matches!(
        taken[..],
        [Command::Watch(..), Command::Watch(..), Command::Withdraw(_)]
    ));
    drop(taken);
    closing.await.unwrap();
}

#[test]
fn the_thread_renews_the_row_and_takes_it_out_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::new(database(&folder), Duration::from_millis(1), HOUR);
    let other = rusqlite::Connection::open(folder.path().join("names.db")).unwrap();
    other.busy_timeout(Duration::from_secs(30)).unwrap();
    let rows = || other.query_row("SELECT count(*) FROM hosts", [], |row| row.get::<_, usize>(0));
    other.execute("DELETE FROM hosts", []).unwrap();
    let (commands, queue) = mpsc::channel();
    let thread = thread::spawn(move || worker.run(&queue));
    let begun = std::time::Instant::now();
    while rows().unwrap() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "not renewed");
        thread::sleep(Duration::from_millis(1));
    }
    drop(commands);
    thread.join().unwrap();
    assert_eq!(rows().unwrap(), 0);
}

#[test]
fn an_app_with_very_many_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let other = rusqlite::Connection::open(folder.path().join("names.db")).unwrap();
    let many = "WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 2000)
                INSERT INTO hosts SELECT n, '10.0.0.2:' || n, 'b', '', unixepoch() FROM n";
    other.execute(many, []).unwrap();
    let found = database.find(["a", "b"].into_iter()).unwrap();
    assert_eq!((found["a"].len(), found["b"].len()), (1, 1024));
}

#[test]
fn a_table_that_cannot_be_read_is_no_reason_to_forget() {
    let folder = tempfile::tempdir().unwrap();
    for (lifetime, stays) in [(HOUR, true), (Duration::ZERO, false)] {
        let mut worker = Worker::new(database(&folder), HOUR, lifetime);
        let known = watch(&mut worker, "a");
        let other = rusqlite::Connection::open(folder.path().join("names.db")).unwrap();
        other
            .execute("ALTER TABLE hosts RENAME TO elsewhere", [])
            .unwrap();
        worker.take(Command::Refresh);
        while worker.due() > std::time::Instant::now() {
            thread::sleep(Duration::from_millis(1));
        }
        let new = watch(&mut worker, "a");
        assert_eq!(matches!(known.now(), Resolution::Endpoints(_)), stays);
        let Resolution::Failed(error) = new.now() else {
            panic!("{new:?}");
        };
        assert!(
            error
                .to_string()
                .starts_with("failed to look up address: no such table"),
            "{error}"
        );
        other
            .execute("ALTER TABLE elsewhere RENAME TO hosts", [])
            .unwrap();
        other.execute("DELETE FROM hosts", []).unwrap();
    }
}

#[test]
fn mistakes() {
    for (configuration, wanted) in [
        (json!({}), "missing connection string"),
        (
            json!({"url": "x", "timeout": "500ms"}),
            "invalid value for 'timeout': must be greater than 1s",
        ),
        (
            json!({"url": "x", "tableName": "a b"}),
            "invalid identifier for table name: a b",
        ),
        (
            json!({"url": "x", "metadataTableName": "a;"}),
            "invalid identifier for metadata table name: a;",
        ),
        (
            json!({"url": "x", "updateInterval": "5500ms"}),
            "update interval must not contain fractions of seconds",
        ),
        (
            json!({"url": "x", "updateInterval": i64::MAX}),
            "invalid value for 'updateInterval': \"9223372036854775807\" is no duration of up to a hundred years",
        ),
        (
            json!({"url": "x", "busyTimeout": "577h"}),
            "invalid value for 'busyTimeout': must not be greater than 576h",
        ),
        (
            json!({"url": "x", "updateInterval": 1}),
            "update interval must be at least 1s greater than timeout",
        ),
    ] {
        assert_eq!(SqliteSettings::of(&configuration).unwrap_err(), wanted);
    }
}

#[tokio::test]
async fn options_that_would_break_the_sharing_are_refused() {
    let configuration = json!({"connectionString": "x.db?_pragma=journal_mode(OFF)"});
    let error = Sqlite::start(&configuration, &instance("a", 1))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create connection: found forbidden option '_pragma=journal_mode' in the connection string"
    );
}
