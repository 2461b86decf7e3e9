//! Whom a request calls, and what of it.

use integration_tests::{HttpApp, Protocol, RawClient, eventually};
use serde_json::Value;

use crate::stage::Pair;

/// Sends a request of one line and some header lines.
async fn ask(pair: &Pair, line: &str, headers: &str) -> (u16, Value) {
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}\r\n"))
        .await;
    let answer = client.receive().await.expect("a complete answer");
    let json = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status(), json)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_forms_of_a_target_reach_the_app() {
    for protocol in [Protocol::Http, Protocol::H2c] {
        let app = HttpApp::echo(protocol).await;
        let name = if protocol == Protocol::Http { "http" } else { "h2c" };
        let pair = Pair::with(app.port, |sidecar| sidecar.arg(format!("--app-protocol={name}"))).await;
        let invoke = "/v1.0/invoke/callee/method";
        // dapr-app-id:callee in base64.
        let basic = "authorization: Basic ZGFwci1hcHAtaWQ6Y2FsbGVl\r\n";
        for (line, headers, verb, target) in [
            (format!("GET {invoke}/a/b?x=1&y=%20"), "", "GET", "/a/b?x=1&y=%20"),
            (format!("DELETE {invoke}/"), "", "DELETE", "/"),
            (format!("PUT {invoke}/a%20b/"), "", "PUT", "/a%20b"),
            (format!("PATCH {invoke}/a//./c/../d"), "", "PATCH", "/a/d"),
            (format!("OPTIONS {invoke}/../../x"), "", "OPTIONS", "/x"),
            (format!("get {invoke}/lower"), "", "GET", "/lower"),
            (
                "GET /v1.0/invoke/callee.default/method/n".to_owned(),
                "",
                "GET",
                "/n",
            ),
            ("GET //v1.0//invoke///callee/method/m".to_owned(), "", "GET", "/m"),
            (
                "POST /by/header".to_owned(),
                "dapr-app-id: callee\r\n",
                "POST",
                "/by/header",
            ),
            ("GET /by/basic?q".to_owned(), basic, "GET", "/by/basic?q"),
        ] {
            let (status, seen) = ask(&pair, &line, headers).await;
            assert_eq!(status, 200, "{line}: {seen}");
            assert_eq!(seen["method"], verb, "{line}");
            assert_eq!(seen["target"], target, "{line}");
        }
        let url = format!("GET /v1.0/invoke/http://127.0.0.1:{}/method/direct", app.port);
        if protocol == Protocol::Http {
            let (status, seen) = ask(&pair, &url, "").await;
            assert_eq!((status, &seen["target"]), (200, &Value::from("/direct")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_calls_itself_and_sees_who_called() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    for (sidecar, caller) in [(&pair.caller, "caller"), (&pair.callee, "callee")] {
        let url = sidecar.invoke_url("callee", "who");
        let seen: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let of = |name: &str| -> Vec<&str> {
            let headers = seen["headers"].as_array().unwrap().iter();
            headers
                .filter(|header| header[0] == name)
                .map(|header| header[1].as_str().unwrap())
                .collect()
        };
        assert_eq!(of("dapr-caller-app-id"), [caller]);
        assert_eq!(of("dapr-caller-namespace"), ["default"]);
        assert_eq!(of("dapr-callee-app-id"), ["callee"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_called_is_told() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let no_target = "failed getting app id either from the URL path or the header dapr-app-id";
    for (line, status, message) in [
        ("GET /", 404, no_target),
        ("GET /v1.0/invoke/callee/method", 404, no_target),
        ("GET /v1.0/invoke//method/x", 404, no_target),
        (
            "GET /v1.0/invoke/nobody/method/x",
            500,
            "failed to invoke, id: nobody, err: no host found with the given ID",
        ),
        (
            "GET /v1.0/invoke/a.b.c/method/x",
            500,
            "failed to invoke, id: a.b.c, err: invalid app id a.b.c",
        ),
        (
            "GET /v1.0/invoke/caller/method/x",
            500,
            "failed to invoke, id: caller, err: cannot invoke local endpoint: app channel not initialized",
        ),
        (
            "GET /v1.0/invoke/callee/method/a%0Ab",
            500,
            "failed to invoke, id: callee, err: rpc error: code = InvalidArgument desc = invalid method: method \
             contains control character at position 1: \"a\\nb\"",
        ),
        (
            "GET /v1.0/invoke/callee/method/a%23b",
            500,
            "failed to invoke, id: callee, err: rpc error: code = InvalidArgument desc = invalid method: method \
             contains forbidden character: \"a#b\"",
        ),
    ] {
        let (got, body) = ask(&pair, line, "").await;
        assert_eq!(got, status, "{line}: {body}");
        assert_eq!(body["errorCode"], "ERR_DIRECT_INVOKE", "{line}");
        assert_eq!(body["message"], message, "{line}");
    }
    for line in [
        "GET /v1.0/invoke/callee/method/a%25zz",
        "GET /v1.0/invoke/callee/method/%ff%fe",
        "CONNECT /v1.0/invoke/callee/method/x",
        "NONE /v1.0/invoke/callee/method/x",
    ] {
        let (status, body) = ask(&pair, line, "").await;
        assert_eq!(
            (status, &body["errorCode"]),
            (500, &Value::from("ERR_DIRECT_INVOKE")),
            "{line}: {body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_may_come_and_go() {
    let port = integration_tests::free_port();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let app = HttpApp::start_on(listener, Protocol::Http, |_| async {
        integration_tests::text(200, "there")
    });
    let pair = Pair::new(port).await;
    drop(app);
    let client = reqwest::Client::new();
    eventually("the app to be gone", || async {
        client.get(pair.url("x")).send().await.unwrap().status() == 500
    })
    .await;
    let answer = client.get(pair.url("x")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("connection refused"), "{text}");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _app = HttpApp::start_on(listener, Protocol::Http, |_| async {
        integration_tests::text(200, "again")
    });
    let answer = client.get(pair.url("x")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "again");
}
