use serde_json::json;

use super::*;

fn instance(app_id: &str, port: u16) -> Instance {
    Instance {
        app_id: app_id.into(),
        address: "10.0.0.1".into(),
        internal_port: port,
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
    let mut watch = resolver.watch(&AppRef::new(id, "default"));
    let resolution = watch
        .wait_for(|resolution| !matches!(resolution, Resolution::Pending))
        .await
        .unwrap();
    match &*resolution {
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
        Err("no host found with the given ID: c".to_owned())
    );
    first.close().await;
    second.close().await;
    assert!(find(&a, "b").await.is_err());
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

#[tokio::test]
async fn a_lost_row_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let a = resolver(&folder, "a", 1).await;
    let other = rusqlite::Connection::open(folder.path().join("names.db")).unwrap();
    other.execute("DELETE FROM hosts", []).unwrap();
    assert!(find(&a, "a").await.is_err());
    a.0.send(Command::Renew).await.unwrap();
    assert!(find(&a, "a").await.is_ok());
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
