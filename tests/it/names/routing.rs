//! Callers that stay with an instance, and copies for another app.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use integration_tests::grpc::{GrpcApp, GrpcClient};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, Request, eventually, text};

use super::versions::section;

async fn saying(says: &'static str) -> HttpApp {
    HttpApp::start(Protocol::Http, move |_: Request| async move { text(200, says) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_with_its_instance() {
    let mesh = Mesh::with_configuration(&section("stickyInstance", &[]));
    let mut instances = Vec::new();
    for name in ["a", "b", "c"] {
        let app = saying(name).await;
        let sidecar = mesh.sidecar("shop").app_port(app.port).start().await;
        instances.push((name, app, sidecar));
    }
    let callers = [
        mesh.sidecar("one").start().await,
        mesh.sidecar("two").start().await,
    ];
    let client = reqwest::Client::new();
    let call = async |caller: &Daprd, session: usize| {
        let call = client
            .get(caller.invoke_url("shop", "m"))
            .header("cookie", format!("theme=dark; session={session}"));
        call.send().await.unwrap().text().await.unwrap()
    };
    // Both have to know all three before they agree.
    for caller in &callers {
        eventually("all instances are known", || async {
            let mut found = std::collections::HashSet::new();
            for session in 0..30 {
                found.insert(call(caller, session).await);
            }
            found.len() == 3
        })
        .await;
    }
    let mut homes = HashMap::new();
    for session in 0..30 {
        homes.insert(session, call(&callers[0], session).await);
    }
    for caller in &callers {
        for (session, home) in &homes {
            assert_eq!(call(caller, *session).await, *home, "{session}");
        }
    }
    let (gone, _app, sidecar) = instances.remove(1);
    sidecar.kill().await;
    for (session, home) in &homes {
        let now = call(&callers[0], *session).await;
        if home == gone {
            assert!(now == "a" || now == "c", "{now}");
        } else {
            assert_eq!(now, *home, "nobody else moves");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_caller_stays_with_its_instance() {
    let mesh = Mesh::with_configuration(&section(
        "stickyInstance",
        &[("cookie: session", "header: x-user")],
    ));
    let mut instances = Vec::new();
    for name in ["a", "b", "c"] {
        let app = GrpcApp::start(move |mut call| async move {
            call.messages().await;
            call.send(name.as_bytes()).await;
            call.finish(0, "", &[]);
        })
        .await;
        let sidecar = mesh.sidecar("shop").arg("--app-protocol=grpc").app_port(app.port);
        instances.push((sidecar.start().await, app));
    }
    let caller = mesh.sidecar("caller").start().await;
    let client = GrpcClient::connect(caller.grpc_port).await;
    let call = async |user: usize| {
        let metadata = [("dapr-app-id", "shop"), ("x-user", &user.to_string())];
        let answer = client.call("/test.Service/Who", &metadata, &[b"m"]).await;
        String::from_utf8(answer.only().to_vec()).unwrap()
    };
    eventually("all instances are known", || async {
        let mut found = std::collections::HashSet::new();
        for user in 0..30 {
            found.insert(call(user).await);
        }
        found.len() == 3
    })
    .await;
    for user in 0..30 {
        let home = call(user).await;
        for _ in 0..3 {
            assert_eq!(call(user).await, home, "{user}");
        }
    }
}

/// What an app got: of each call the body, and what it says of being a copy.
type Got = Arc<Mutex<Vec<(String, Option<String>)>>>;

async fn noting(status: u16, says: &'static str) -> (HttpApp, Got) {
    let got = Got::default();
    let noted = Arc::clone(&got);
    let app = HttpApp::start(Protocol::Http, move |request: Request| {
        let noted = Arc::clone(&noted);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let mark = head.headers.get("x-daprd-mirrored");
            let mark = mark.map(|value| value.to_str().unwrap().to_owned());
            let body = String::from_utf8_lossy(&body).into_owned();
            // Sidecars ask their app for its configuration, too.
            if head.method == reqwest::Method::POST {
                noted.lock().unwrap().push((body, mark));
            }
            text(status, says)
        }
    })
    .await;
    (app, got)
}

async fn copies(caller: &Daprd, result: &str) -> u64 {
    let url = format!("http://127.0.0.1:{}/", caller.metrics_port);
    let shown = reqwest::get(url).await.unwrap().text().await.unwrap();
    let line =
        format!("daprd_mirrored_calls_total{{app_id=\"caller\",result=\"{result}\",target=\"shop-next\"}} ");
    let count = shown.lines().find_map(|shown| shown.strip_prefix(&*line));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_app_gets_copies_and_its_faults_are_its_own() {
    let spec = section("mirror", &[("percent: 10", "percent: 100")]);
    let mesh = Mesh::with_configuration(&spec);
    let (shop, at_shop) = noting(200, "shop").await;
    let (next, at_next) = noting(500, "next").await;
    let _shop = mesh.sidecar("shop").app_port(shop.port).start().await;
    let caller = mesh.sidecar("caller").start().await;
    let client = reqwest::Client::new();
    let call = async |body: String| {
        let call = client.post(caller.invoke_url("shop", "orders")).body(body);
        let answer = call.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap()),
            (200, "shop".to_owned())
        );
    };
    // Nobody is there who could get a copy.
    call("lost".to_owned()).await;
    eventually("the fault is counted", || async {
        copies(&caller, "failed").await == 1
    })
    .await;
    let _next = mesh.sidecar("shop-next").app_port(next.port).start().await;
    // It is not found at once by whoever has just heard that it is not there.
    eventually("a copy comes", || async {
        call("probe".to_owned()).await;
        !at_next.lock().unwrap().is_empty()
    })
    .await;
    // Those that waited for somebody who was not there yet may have left no place for others.
    let calls = at_shop.lock().unwrap().drain(..).count() as u64;
    let told = async || copies(&caller, "failed").await + copies(&caller, "busy").await;
    eventually("all are counted", || async { told().await == calls }).await;
    let failed = copies(&caller, "failed").await;
    at_next.lock().unwrap().clear();
    let long = "x".repeat(50_000);
    for body in ["one", &long] {
        call(body.to_owned()).await;
    }
    // By the gRPC API.
    let grpc = GrpcClient::connect(caller.grpc_port).await;
    let request = integration_tests::grpc::InvokeServiceRequest::post("shop", "orders", "three");
    assert_eq!(grpc.invoke(&request, &[]).await.1.body(), b"shop");
    eventually("the copies came", || async { at_next.lock().unwrap().len() == 3 }).await;
    let mut got = at_next.lock().unwrap().clone();
    got.sort();
    let wanted = ["one", "three", &long].map(|body| (body.to_owned(), Some("true".to_owned())));
    assert_eq!(got, wanted);
    let at_shop: Vec<_> = at_shop.lock().unwrap().clone();
    assert_eq!(at_shop.len(), 3);
    assert!(at_shop.iter().all(|(_, mark)| mark.is_none()));
    eventually("all are counted", || async {
        copies(&caller, "failed").await == failed + 3
    })
    .await;
    // A body that is too long to be kept reaches the app alone.
    call("y".repeat(1_000_000)).await;
    eventually("it is counted", || async { copies(&caller, "unfit").await == 1 }).await;
    // Without a restart there are no copies any more.
    let config = mesh.folder().join("config.yaml");
    let text = fs::read_to_string(&config).unwrap().replace(&spec, "");
    let beside = mesh.folder().join("beside");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, config).unwrap();
    eventually("calls have no copies", || async {
        let before = copies(&caller, "failed").await;
        let got = at_next.lock().unwrap().len();
        call("four".to_owned()).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        copies(&caller, "failed").await == before && at_next.lock().unwrap().len() == got
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxied_calls_are_copied_and_streams_are_not() {
    let mesh = Mesh::with_configuration(&section("mirror", &[("percent: 10", "percent: 100")]));
    let shop = GrpcApp::echo().await;
    let got = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&got);
    let next = GrpcApp::start(move |mut call| {
        let noted = Arc::clone(&noted);
        async move {
            let mark = call.header("x-daprd-mirrored").to_owned();
            let (messages, _) = call.messages().await;
            let messages: Vec<_> = messages.into_iter().map(|message| message.data).collect();
            noted
                .lock()
                .unwrap()
                .push((call.path().to_owned(), mark, messages));
            call.send(b"copied").await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let start = async |id: &str, port| {
        let sidecar = mesh.sidecar(id).arg("--app-protocol=grpc").app_port(port);
        sidecar.start().await
    };
    let _shop = start("shop", shop.port).await;
    let _next = start("shop-next", next.port).await;
    let caller = mesh.sidecar("caller").start().await;
    let client = GrpcClient::connect(caller.grpc_port).await;
    let to_shop = ("dapr-app-id", "shop");
    let answer = client.call("/test.Service/One", &[to_shop], &[b"hello"]).await;
    assert_eq!(answer.only(), b"hello");
    eventually("the copy came", || async {
        copies(&caller, "answered").await == 1
    })
    .await;
    let answer = client.call("/test.Service/Many", &[to_shop], &[b"a", b"b"]).await;
    assert_eq!(answer.messages.len(), 2);
    eventually("the stream is counted", || async {
        copies(&caller, "unfit").await == 1
    })
    .await;
    let got = got.lock().unwrap();
    assert_eq!(got.len(), 1);
    let (path, mark, messages) = &got[0];
    assert_eq!((path.as_str(), mark.as_str()), ("/test.Service/One", "true"));
    assert_eq!(*messages, ["hello"]);
}
