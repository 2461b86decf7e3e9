//! The examples of the other resolvers' pages.

use integration_tests::{DaprdBuilder, HttpApp, Protocol, Request, text};

use super::{Configured, page};

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_the_configuration() {
    let app = HttpApp::echo(Protocol::Http).await;
    let callee = DaprdBuilder::new("app-2").app_port(app.port).start().await;
    let internal = format!("127.0.0.1:{}", callee.internal_port);
    let mesh = Configured::by_example(page!("static"), &[("127.0.0.1:50002", internal)]);
    let caller = mesh.sidecar("caller").start().await;
    let call = async |id: &str| {
        let answer = reqwest::get(caller.invoke_url(id, "m")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(call("app-2").await.0, 200);
    assert_eq!(
        call("app-9").await,
        (
            500,
            "{\"errorCode\":\"ERR_DIRECT_INVOKE\",\"message\":\"failed to invoke, id: app-9, err: the configuration of name \
             resolution has no addresses of app id app-9\"}"
                .to_owned()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_stay_in_their_zone() {
    let app = async |says: &'static str| {
        HttpApp::start(Protocol::Http, move |_: Request| async move { text(200, says) }).await
    };
    let (here, there) = (app("here").await, app("there").await);
    let near = DaprdBuilder::new("app-2").app_port(here.port).start().await;
    let far = DaprdBuilder::new("app-2").app_port(there.port).start().await;
    let mesh = Configured::by_example(
        page!("static"),
        &[
            ("127.0.0.1:50002", format!("127.0.0.1:{}", near.internal_port)),
            ("127.0.0.1:50003", format!("127.0.0.1:{}", far.internal_port)),
            ("slowStart: 30s", "slowStart: 1m30s".to_owned()),
        ],
    );
    let caller = mesh.sidecar("caller").start().await;
    let call = async || {
        reqwest::get(caller.invoke_url("app-2", "m"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    for _ in 0..20 {
        assert_eq!(call().await, "here");
    }
    near.kill().await;
    assert_eq!(call().await, "there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_cannot_be_is_told() {
    let sidecar =
        Configured::by("component: static\nconfiguration: {apps: {a: \"h:1\"}}\nbalancing: {slowstart: 1s}")
            .sidecar("x")
            .start()
            .await;
    let told = "[INIT_COMPONENT_FAILURE]: initialization error occurred for nr (static/v1): \
                spec.nameResolution.balancing.slowstart: zone, slowStart or mostEndpoints is wanted";
    sidecar.await_log(told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names.db").display().to_string();
    let mesh = Configured::by_example(page!("sqlite"), &[("/var/lib/dapr/names.db", file)]);
    let app = HttpApp::echo(Protocol::Http).await;
    let _callee = mesh.sidecar("callee").app_port(app.port).start().await;
    let caller = mesh.sidecar("caller").start().await;
    let answer = reqwest::get(caller.invoke_url("callee", "m")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_id_in_a_text() {
    let app = HttpApp::echo(Protocol::Http).await;
    let callee = DaprdBuilder::new("1").app_port(app.port).start().await;
    let to = format!("127.0.0.{{appid}}:{}", callee.internal_port);
    let mesh = Configured::by_example(page!("nameformat"), &[("{appid}.sidecars.internal:50002", to)]);
    let caller = mesh.sidecar("caller").start().await;
    let answer = reqwest::get(caller.invoke_url("1", "m")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Whom these find depends on the network.
#[tokio::test(flavor = "multi_thread")]
async fn what_begins_at_least() {
    for (page, name) in [(page!("mdns"), "mdns"), (page!("kubernetes"), "kubernetes")] {
        let sidecar = Configured::by_example(page, &[]).sidecar("x").start().await;
        sidecar
            .await_log(&format!("Initialized name resolution to {name}"))
            .await;
    }
}

/// What Dapr has and this build has not is refused by its name, and lived with.
#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_is_not_here() {
    let sidecar = Configured::by("component: aws.cloudmap")
        .sidecar("x")
        .start()
        .await;
    let told = "[CREATE_COMPONENT_FAILURE]: initialization error occurred for nr (aws.cloudmap/v1): couldn't find name \
                resolver aws.cloudmap/v1: it is in builds with the feature aws-cloudmap alone";
    sidecar.await_log(told).await;
}
