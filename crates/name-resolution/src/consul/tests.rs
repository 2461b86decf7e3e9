//! Against an agent that says what the tests want.

use std::sync::atomic::{AtomicBool, Ordering};

use invoke_core::balance::Resolution;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{Instant, timeout};

use super::*;
use crate::scripted::{Asked, Said, Scripted};

const PATIENCE: Duration = Duration::from_secs(20);

fn instance() -> Instance {
    Instance {
        app_id: "me".into(),
        address: "127.0.0.1".into(),
        internal_port: 50002,
        http_port: 3500,
        app_port: Some(3000),
        host_name: "h".into(),
    }
}

async fn start(port: u16, mut configuration: Value) -> (Consul, Option<String>) {
    if configuration["client"].is_null() {
        configuration["client"] = json!({});
    }
    configuration["client"]["address"] = json!(format!("127.0.0.1:{port}"));
    let means = Means::with_variables(|_| None);
    Consul::start(&configuration, &instance(), &means).await.unwrap()
}

/// Instances on these ports.
fn instances(ports: &[u16]) -> String {
    let entries = ports
        .iter()
        .map(|port| json!({"Service": {"Address": "127.0.0.1", "Meta": {"DAPR_PORT": port.to_string()}}}));
    entries.collect::<Value>().to_string()
}

fn answer(index: u64, ports: &[u16]) -> Said {
    Said::Answer(200, index, instances(ports))
}

/// Waits until these ports are known.
async fn await_ports(watch: &EndpointWatch, ports: &[u16]) {
    let wanted: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let is_there = |resolution: &Resolution| match resolution {
        Resolution::Endpoints(found) => found
            .iter()
            .map(|endpoint| endpoint.address().to_string())
            .eq(wanted.clone()),
        _ => false,
    };
    let found = timeout(PATIENCE, watch.wait_for(is_there)).await;
    assert!(
        found.is_ok_and(|found| is_there(&found)),
        "{wanted:?} {:?}",
        watch.now()
    );
}

async fn failure(watch: &EndpointWatch) -> String {
    let failed = timeout(
        PATIENCE,
        watch.wait_for(|found| matches!(found, Resolution::Failed(_))),
    )
    .await;
    match failed.unwrap() {
        Resolution::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The queries for instances.
fn queries(agent: &Scripted) -> Vec<String> {
    let mut lines = agent.lines();
    lines.retain(|line| line.contains("/v1/health/"));
    lines
}

#[tokio::test]
async fn changes_are_told_by_the_agent() {
    let agent = Scripted::start(|before, asked| match before {
        0 => {
            assert_eq!(asked.line, "GET /v1/agent/self");
            Said::Answer(200, 0, "{}".to_owned())
        }
        1 => answer(5, &[1]),
        2 => answer(6, &[1, 2]),
        _ => Said::Nothing,
    })
    .await;
    let (consul, complaint) = start(agent.port, json!({})).await;
    assert_eq!(complaint, None);
    let watch = consul.watch(&AppRef::new("a/b", "ns"));
    await_ports(&watch, &[1, 2]).await;
    let wanted = "GET /v1/health/service/a%2Fb?cached=&passing=1";
    while queries(&agent).len() < 3 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        queries(&agent),
        [
            wanted.to_owned(),
            format!("{wanted}&index=5&wait=60000ms"),
            format!("{wanted}&index=6&wait=60000ms"),
        ]
    );
    drop(watch);
    timeout(PATIENCE, async {
        while !consul.0.tasks.is_empty() && Arc::strong_count(&consul.0.watching) > 1 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

/// Whatever the agent does, what was found stays known.
#[tokio::test]
async fn trouble_with_the_agent_takes_nothing_away() {
    for fault in [
        Said::Answer(500, 9, "rpc error: No cluster leader".to_owned()),
        Said::Answer(403, 9, "Permission denied".to_owned()),
        Said::Answer(200, 9, "[{\"Service\":".to_owned()),
        Said::Answer(200, 9, "<html>".to_owned()),
        // Nobody at all, in more bytes than are read.
        Said::Answer(200, 9, format!("[{}]", " ".repeat(16 << 20))),
        Said::Answer(301, 9, String::new()),
        Said::Cut("[{\"Service\":{".to_owned()),
    ] {
        let shown = format!("{fault:?}");
        let agent = Scripted::start(move |before, _| match before {
            0 => Said::Answer(200, 0, "{}".to_owned()),
            1 => answer(5, &[1]),
            2 => fault.clone(),
            3 => answer(7, &[1, 2]),
            _ => Said::Nothing,
        })
        .await;
        let (consul, _) = start(agent.port, json!({})).await;
        let mut watch = consul.watch(&AppRef::new("a", "ns"));
        await_ports(&watch, &[1]).await;
        assert!(timeout(PATIENCE, watch.changed()).await.unwrap(), "{shown}");
        await_ports(&watch, &[1, 2]).await;
        let queries = queries(&agent);
        assert!(queries[1].contains("&index=5&"), "{shown} {queries:?}");
        assert!(
            !queries[2].contains("index"),
            "after a failure nothing is waited for: {queries:?}"
        );
    }
}

#[tokio::test]
async fn an_index_that_goes_back_begins_anew() {
    let agent = Scripted::start(|before, _| match before {
        0 => Said::Answer(200, 0, "{}".to_owned()),
        1 => answer(100, &[1]),
        2 => answer(3, &[2]),
        3 => answer(4, &[3]),
        _ => Said::Nothing,
    })
    .await;
    let (consul, _) = start(agent.port, json!({})).await;
    let watch = consul.watch(&AppRef::new("a", "ns"));
    await_ports(&watch, &[3]).await;
    let queries = queries(&agent);
    assert!(queries[1].contains("&index=100&"));
    assert!(!queries[2].contains("index"), "{queries:?}");
}

/// Sidecars register again with an agent that has lost everything; until then what was found counts.
#[tokio::test]
async fn an_agent_that_begins_anew_with_nobody_takes_nothing_away() {
    let agent = Scripted::start(|before, _| match before {
        0 => Said::Answer(200, 0, "{}".to_owned()),
        1 => answer(100, &[1]),
        4 => answer(4, &[2]),
        6 => Said::Nothing,
        _ => answer(3, &[]),
    })
    .await;
    let (consul, _) = start(agent.port, json!({})).await;
    let mut watch = consul.watch(&AppRef::new("a", "ns"));
    await_ports(&watch, &[1]).await;
    assert!(timeout(PATIENCE, watch.changed()).await.unwrap());
    await_ports(&watch, &[2]).await;
    while queries(&agent).len() < 6 {
        sleep(Duration::from_millis(5)).await;
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(91)).await;
    tokio::time::resume();
    assert_eq!(
        failure(&watch).await,
        "no healthy services found with AppID 'a'",
        "not for ever"
    );
}

/// An agent, or something in front of it, that answers at once is not asked all the time.
#[tokio::test]
async fn an_agent_that_does_not_wait_is_asked_every_second() {
    let agent = Scripted::start(|before, _| match before {
        0 => Said::Answer(200, 0, "{}".to_owned()),
        _ => answer(5, &[1]),
    })
    .await;
    let (consul, _) = start(agent.port, json!({})).await;
    let watch = consul.watch(&AppRef::new("a", "ns"));
    await_ports(&watch, &[1]).await;
    sleep(Duration::from_millis(700)).await;
    assert!(queries(&agent).len() <= 3, "{:?}", queries(&agent));
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_not_waited_for_for_ever() {
    let agent = Scripted::start(|before, _| match before {
        0 => Said::Answer(200, 0, "{}".to_owned()),
        1 => answer(5, &[1]),
        _ => Said::Nothing,
    })
    .await;
    let (consul, _) = start(agent.port, json!({"queryOptions": {"waitTime": "16ms"}})).await;
    let watch = consul.watch(&AppRef::new("a", "ns"));
    await_ports(&watch, &[1]).await;
    // The limit of this query is that of others and 17 ms.
    let asked = Instant::now();
    while queries(&agent).len() < 3 {
        assert!(asked.elapsed() < PATIENCE, "{:?}", queries(&agent));
        sleep(Duration::from_millis(50)).await;
    }
    await_ports(&watch, &[1]).await;
}

#[tokio::test]
async fn an_app_that_is_not_there_is_asked_for_by_each_call() {
    let agent = Scripted::start(|before, _| match before {
        0 => Said::Answer(200, 0, "{}".to_owned()),
        1 => answer(5, &[]),
        2 => Said::Answer(500, 0, "no".to_owned()),
        _ => answer(6, &[1]),
    })
    .await;
    let (consul, _) = start(agent.port, json!({})).await;
    let watch = || consul.watch(&AppRef::new("a", "ns"));
    assert_eq!(
        failure(&watch()).await,
        "no healthy services found with AppID 'a'"
    );
    assert_eq!(
        failure(&watch()).await,
        "failed to query healthy consul services: Unexpected response code: 500 (no)"
    );
    await_ports(&watch(), &[1]).await;
}

#[tokio::test]
async fn the_last_instance_goes() {
    let agent = Scripted::start(|before, _| match before {
        0 => Said::Answer(200, 0, "{}".to_owned()),
        1 => answer(5, &[1]),
        _ => answer(6, &[]),
    })
    .await;
    let (consul, _) = start(agent.port, json!({})).await;
    let watch = consul.watch(&AppRef::new("a", "ns"));
    assert_eq!(failure(&watch).await, "no healthy services found with AppID 'a'");
}

/// A host lets an agent have a few hundred connections, and has other sidecars.
#[tokio::test]
async fn of_many_apps_a_few_wait_and_the_others_ask() {
    let agent = Scripted::start(|_, asked| {
        if asked.line.contains("index=") {
            Said::Nothing
        } else {
            answer(5, &[1])
        }
    })
    .await;
    let (consul, _) = start(agent.port, json!({})).await;
    let watches: Vec<_> = (0..PLACES + 2)
        .map(|app| consul.watch(&AppRef::new(format!("app-{app}").as_str(), "ns")))
        .collect();
    for watch in &watches {
        await_ports(watch, &[1]).await;
    }
    let asks_again = |agent: &Scripted| queries(agent).len() >= 2 * PLACES + 2 * 3;
    let begun = Instant::now();
    while !asks_again(&agent) {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    let waiting = queries(&agent)
        .iter()
        .filter(|line| line.contains("index="))
        .count();
    assert_eq!(waiting, PLACES);
}

#[tokio::test]
async fn who_one_is_is_registered_and_withdrawn() {
    for (deregisters, wanted) in [(true, 2), (false, 1)] {
        let agent = Scripted::start(|_, _| Said::Answer(200, 0, String::new())).await;
        let configuration =
            json!({"selfRegister": true, "selfDeregister": deregisters, "client": {"datacenter": "d c"}});
        let (consul, complaint) = start(agent.port, configuration).await;
        assert_eq!(complaint, None);
        consul.close().await;
        let asked = agent.asked();
        assert_eq!(asked.len(), wanted);
        assert_eq!(asked[0].line, "PUT /v1/agent/service/register?dc=d%20c");
        assert_eq!(asked[0].header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_str(&asked[0].body).unwrap();
        assert_eq!(
            (&body["ID"], &body["Meta"]["DAPR_PORT"]),
            (&json!("me-127.0.0.1-3500"), &json!("50002"))
        );
        if deregisters {
            assert_eq!(
                asked[1].line,
                "PUT /v1/agent/service/deregister/me-127.0.0.1-3500?dc=d%20c"
            );
        }
    }
}

#[tokio::test]
async fn an_agent_that_hangs_does_not_keep_the_sidecar_from_its_end() {
    let agent = Scripted::start(|before, _| match before {
        0 => Said::Answer(200, 0, String::new()),
        _ => Said::Nothing,
    })
    .await;
    let (consul, _) = start(agent.port, json!({"selfRegister": true, "selfDeregister": true})).await;
    timeout(PATIENCE, consul.close()).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_comes_later_is_told_then() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for (configuration, wanted) in [
        (
            json!({"selfRegister": true}),
            format!(
                "failed to register consul service: Put \"http://127.0.0.1:{port}/v1/agent/service/register\": dial tcp \
                 127.0.0.1:{port}: connect: connection refused"
            ),
        ),
        (
            json!({}),
            format!(
                "failed check on consul agent: Get \"http://127.0.0.1:{port}/v1/agent/self\": dial tcp 127.0.0.1:{port}: \
                 connect: connection refused"
            ),
        ),
    ] {
        let is_registered = configuration["selfRegister"] == true;
        let (consul, complaint) = start(port, configuration).await;
        assert_eq!(complaint, Some(wanted));
        if is_registered {
            let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            let agent = Scripted::start_on(listener, |_, _| Said::Answer(200, 0, String::new()));
            timeout(PATIENCE, async {
                while agent.lines().is_empty() {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .unwrap();
            assert_eq!(agent.lines()[0], "PUT /v1/agent/service/register");
            consul.close().await;
        }
    }
}

#[tokio::test]
async fn an_agent_that_has_forgotten_is_told_again() {
    let agent = Scripted::start(|before, asked| match (before, asked.line.as_str()) {
        (0 | 4, "PUT /v1/agent/service/register") => Said::Answer(200, 0, String::new()),
        (1, "GET /v1/agent/service/me-127.0.0.1-3500") => Said::Answer(200, 0, "{}".to_owned()),
        (2, "GET /v1/agent/service/me-127.0.0.1-3500") => Said::Answer(403, 0, String::new()),
        (3, "GET /v1/agent/service/me-127.0.0.1-3500") => Said::Answer(404, 0, String::new()),
        (_, "GET /v1/agent/service/me-127.0.0.1-3500") => Said::Nothing,
        other => panic!("{other:?}"),
    })
    .await;
    let settings = json!({"selfRegister": true, "client": {"address": format!("127.0.0.1:{}", agent.port)}});
    let means = Means::with_variables(|_| None);
    let looks = Duration::from_millis(10);
    let (consul, _) = Consul::start_looking(&settings, &instance(), &means, looks)
        .await
        .unwrap();
    timeout(PATIENCE, async {
        while agent.lines().len() < 6 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    consul.close().await;
}

#[tokio::test]
async fn tokens_and_passwords() {
    let agent = Scripted::start(|_, _| answer(0, &[1])).await;
    let (consul, _) = start(
        agent.port,
        json!({
            "client": {"token": "of-client", "httpAuth": {"username": "u", "password": "p"}},
            "queryOptions": {"token": "of-query", "useCache": true, "maxAge": 5_000_000_000_u64},
        }),
    )
    .await;
    await_ports(&consul.watch(&AppRef::new("a", "ns")), &[1]).await;
    let of = |asked: &Asked, name: &str| asked.header(name).map(str::to_owned);
    let asked = agent.asked();
    assert_eq!(of(&asked[0], "x-consul-token").as_deref(), Some("of-client"));
    assert_eq!(of(&asked[1], "x-consul-token").as_deref(), Some("of-query"));
    assert_eq!(of(&asked[1], "cache-control").as_deref(), Some("max-age=5"));
    assert_eq!(of(&asked[1], "authorization").as_deref(), Some("Basic dTpw"));
}

#[tokio::test]
async fn a_token_that_is_refused_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, " old\n").unwrap();
    let is_renewed = Arc::new(AtomicBool::new(false));
    let renewed = Arc::clone(&is_renewed);
    let agent = Scripted::start(move |_, asked| {
        let wanted = if renewed.load(Ordering::Relaxed) {
            "new"
        } else {
            "old"
        };
        if asked.header("x-consul-token") == Some(wanted) {
            answer(5, &[1])
        } else {
            Said::Answer(403, 0, "ACL not found".to_owned())
        }
    })
    .await;
    let settings = json!({"client": {"tokenFile": file, "token": "never"}});
    let (consul, complaint) = start(agent.port, settings).await;
    assert_eq!(complaint, None);
    is_renewed.store(true, Ordering::Relaxed);
    let refused = failure(&consul.watch(&AppRef::new("a", "ns"))).await;
    assert!(
        refused.ends_with("Unexpected response code: 403 (ACL not found)"),
        "{refused}"
    );
    std::fs::write(&file, "new").unwrap();
    await_ports(&consul.watch(&AppRef::new("a", "ns")), &[1]).await;
}

#[tokio::test]
async fn settings_that_cannot_be() {
    for (configuration, wanted) in [
        (
            json!({"client": 1}),
            "error deserializing to configSpec: configuration.client: an object is wanted, not 1",
        ),
        (
            json!({"client": {"address": "ftp://x"}}),
            "failed to init consul client: consul api error initing client: Unknown protocol scheme: ftp",
        ),
        (
            json!({"client": {"address": "a b"}}),
            "failed to init consul client: consul api error initing client: parse \"http://a b\": invalid uri character",
        ),
        (
            json!({"client": {"token": "a\nb"}}),
            "failed to init consul client: consul api error initing client: the token or the password has bytes that no \
             header can have",
        ),
        (
            json!({"client": {"tokenFile": "/nosuch"}}),
            "failed to init consul client: consul api error initing client: Error loading token file /nosuch : No such \
             file or directory (os error 2)",
        ),
    ] {
        let means = Means::with_variables(|_| None);
        let error = Consul::start(&configuration, &instance(), &means)
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(error, InitError::Init(wanted.to_owned()));
    }
}

#[tokio::test]
async fn an_agent_at_a_unix_socket() {
    let agent = Scripted::start(|_, _| answer(0, &[1])).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consul.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let port = agent.port;
    let front = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut behind = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut behind).await;
            });
        }
    });
    let settings = json!({"client": {"address": format!("unix://{}", path.display())}});
    let means = Means::with_variables(|_| None);
    let (consul, complaint) = Consul::start(&settings, &instance(), &means).await.unwrap();
    assert_eq!(complaint, None);
    await_ports(&consul.watch(&AppRef::new("a", "ns")), &[1]).await;
    assert_eq!(agent.asked()[0].header("host"), Some("localhost"));
    front.abort();
    let settings = json!({"client": {"address": "unix:///nosuch/consul.sock"}});
    let (_, complaint) = Consul::start(&settings, &instance(), &means).await.unwrap();
    assert_eq!(
        complaint.as_deref(),
        Some(
            "failed check on consul agent: Get \"http://localhost/v1/agent/self\": dial unix /nosuch/consul.sock: connect: no \
             such file or directory"
        )
    );
}
