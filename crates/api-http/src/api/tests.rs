//! The API as its callers see it, without sockets.

mod lists;
mod token;

use std::sync::Mutex;

use http_body_util::Full;
use invoke_core::{
    Cause, Delivery, Fault, Invocation, InvokeError, Proxied, Reply, Route as ReplyRoute, WireStatus,
};
use lifecycle::{Readiness, shutdown_requests};

use super::*;
use api_core::MetadataSettings;

/// Notes what it is asked, and answers with the body it got.
#[derive(Default)]
struct Echo(Mutex<Vec<(String, String)>>);

impl Invoke for Echo {
    async fn invoke(&self, target: &str, call: Invocation) -> Result<Reply, InvokeError> {
        self.0
            .lock()
            .unwrap()
            .push((target.to_owned(), call.head.method.to_string()));
        if target == "broken" {
            let cause = Cause::App {
                text: "EOF".to_owned(),
                source: None,
            };
            return Err(InvokeError::new(Fault::App, Delivery::Maybe, cause));
        }
        let mut reply = Reply::new(WireStatus::http(StatusCode::OK), ReplyRoute::Local);
        reply.headers = call.head.headers;
        reply.body = call.body;
        Ok(reply)
    }

    async fn proxy(&self, _: &str, _: Proxied) -> Result<Response<Body>, InvokeError> {
        unreachable!("no gRPC comes to this API")
    }
}

struct Sidecar {
    api: Api<Echo, ()>,
    echo: Arc<Echo>,
}

fn sidecar(settings: ApiSettings) -> Sidecar {
    let metadata = MetadataSettings {
        app_id: "me".into(),
        version: "edge".into(),
        ..MetadataSettings::default()
    };
    let echo = Arc::new(Echo::default());
    let api = Api::new(
        Arc::clone(&echo),
        Arc::new(()),
        settings,
        Arc::new(Metadata::new(metadata)),
        Health::new(Readiness::new()),
        shutdown_requests().0,
    );
    Sidecar { api, echo }
}

fn settings() -> ApiSettings {
    ApiSettings {
        max_body: Some(10),
        token: None,
        apis: ApiLists::default(),
        cors: None,
        tracing: true,
        pipeline: None,
        deadline_header: None,
    }
}

impl Sidecar {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let response = self.response(method, path, headers, body).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn response(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = RequestBody::Kept(Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())));
        self.api.call(request.body(body).unwrap()).await
    }
}

#[tokio::test]
async fn an_invocation_goes_through() {
    let sidecar = sidecar(settings());
    let (status, body) = sidecar
        .send("POST", "/v1.0/invoke/app/method/a%20b?x=1", &[], "hello")
        .await;
    assert_eq!((status, body.as_str()), (200, "hello"));
    assert_eq!(
        *sidecar.echo.0.lock().unwrap(),
        [("app".to_owned(), "a b".to_owned())]
    );
}

#[tokio::test]
async fn failures_are_json() {
    let sidecar = sidecar(settings());
    for (path, status, wanted) in [
        (
            "/nothing",
            404,
            "failed getting app id either from the URL path or the header dapr-app-id",
        ),
        (
            "/v1.0/invoke/broken/method/m",
            500,
            "failed to invoke, id: broken, err: EOF",
        ),
        (
            "/v1.0/invoke/a/method/x%23y",
            500,
            "failed to invoke, id: a, err: rpc error: code = InvalidArgument desc = invalid method: \
             method contains forbidden character: \\\"x#y\\\"",
        ),
    ] {
        let (got, body) = sidecar.send("POST", path, &[], "x").await;
        let json = format!("{{\"errorCode\":\"ERR_DIRECT_INVOKE\",\"message\":\"{wanted}\"}}");
        assert_eq!((got, body), (status, json), "{path}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit() {
    let sidecar = sidecar(settings());
    let (status, body) = sidecar
        .send("POST", "/v1.0/invoke/a/method/m", &[], "0123456789")
        .await;
    assert_eq!((status, body.as_str()), (200, "0123456789"));
    let (status, body) = sidecar
        .send("POST", "/v1.0/invoke/a/method/m", &[], "01234567890")
        .await;
    assert_eq!(status, 500);
    assert!(
        body.contains("failed to invoke, id: a, err: stream too large"),
        "{body}"
    );
    let (status, body) = sidecar.send("PUT", "/v1.0/metadata/k", &[], "01234567890").await;
    assert_eq!(status, 400);
    assert!(body.contains("ERR_BODY_READ"), "{body}");
}

#[tokio::test]
async fn the_token_guards_all_but_health() {
    let sidecar = sidecar(ApiSettings {
        token: ApiToken::new("t"),
        ..settings()
    });
    let right = &[("dapr-api-token", "t")][..];
    let wrong = &[("dapr-api-token", "x")][..];
    for (method, path, headers, wanted) in [
        ("GET", "/v1.0/healthz", &[][..], 204),
        ("GET", "/v1.0/healthz/outbound", &[], 500),
        ("GET", "//v1.0/healthz/", &[], 204),
        ("POST", "/v1.0/healthz", &[], 401),
        ("GET", "/v1.0/metadata", wrong, 401),
        ("GET", "/v1.0/metadata", right, 200),
        ("POST", "/v1.0/invoke/a/method/m", &[], 401),
        ("POST", "/v1.0/invoke/a/method/m", right, 200),
        // The exemption is that of the route, whatever the path decodes to.
        ("GET", "/v1.0%2Fhealthz", &[("dapr-app-id", "a")], 401),
        ("GET", "/%76%31.0/healthz", &[("dapr-app-id", "a")], 401),
    ] {
        assert_eq!(
            sidecar.send(method, path, headers, "").await.0,
            wanted,
            "{method} {path} {headers:?}"
        );
    }
    let (_, body) = sidecar.send("GET", "/v1.0/metadata", &[], "").await;
    assert_eq!(body, "invalid api token\n");
}

#[tokio::test]
async fn the_token_is_not_passed_on() {
    let sidecar = sidecar(ApiSettings {
        token: ApiToken::new("t"),
        ..settings()
    });
    let headers = [("dapr-api-token", "t"), ("x-kept", "1")];
    let response = sidecar
        .response("POST", "/v1.0/invoke/a/method/m", &headers, "")
        .await;
    assert!(response.headers().contains_key("x-kept"));
    assert!(!response.headers().contains_key("dapr-api-token"));
}

#[tokio::test]
async fn trace_and_baggage() {
    let sidecar = sidecar(settings());
    let zero = "00-00000000000000000000000000000000-0000000000000000-00";
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let path = "/v1.0/metadata";
    let response = sidecar.response("GET", path, &[], "").await;
    assert_eq!(response.headers()["traceparent"], zero);
    let headers = [("traceparent", parent), ("baggage", "a=1")];
    let response = sidecar.response("GET", path, &headers, "").await;
    assert_eq!(response.headers()["traceparent"], parent);
    assert_eq!(response.headers()["baggage"], "a=1");
    let response = sidecar
        .response("GET", "/v1.0/healthz", &[("baggage", "bad")], "")
        .await;
    assert_eq!(response.status(), 204);
    assert!(!response.headers().contains_key("traceparent"));
    let (status, body) = sidecar
        .send("GET", path, &[("baggage", "invalid-baggage")], "")
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        "invalid baggage header: invalid baggage list-member: \"invalid-baggage\"\n"
    );
}

#[tokio::test]
async fn cors() {
    let sidecar = sidecar(ApiSettings {
        cors: Cors::parse("http://a"),
        token: ApiToken::new("t"),
        ..settings()
    });
    let preflight = [("origin", "http://a"), ("access-control-request-method", "GET")];
    let response = sidecar
        .response("OPTIONS", "/v1.0/metadata", &preflight, "")
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], "http://a");
    let response = sidecar
        .response("GET", "/v1.0/metadata", &[("origin", "http://a")], "")
        .await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["vary"], "Origin");
    assert_eq!(response.headers()["access-control-allow-origin"], "http://a");
}

#[tokio::test]
async fn metadata_keys_are_unescaped() {
    let sidecar = sidecar(settings());
    assert_eq!(
        sidecar.send("PUT", "/v1.0/metadata/a%2Fb+c", &[], "v").await.0,
        204
    );
    let (_, json) = sidecar.send("GET", "/v1.0/metadata", &[], "").await;
    assert!(json.contains("\"a/b c\":\"v\""), "{json}");
}

/// The public port takes less than the others, whatever `--max-body-size` says.
#[tokio::test]
async fn a_body_of_the_public_port_is_small() {
    let metadata = Arc::new(Metadata::new(MetadataSettings::default()));
    let health = Health::new(Readiness::new());
    let public = crate::PublicApi::new(Arc::new(()), metadata, health, &ApiLists::default());
    for (length, status) in [(64 * 1024, 204), (64 * 1024 + 1, 400)] {
        let body = RequestBody::Kept(Full::new(vec![b'v'; length].into()));
        let request = Request::put("/v1.0/metadata/a").body(body).unwrap();
        assert_eq!(public.call(request).await.status(), status, "{length}");
    }
}

#[tokio::test]
async fn shutdown_is_asked_for() {
    let (requests, mut asked) = shutdown_requests();
    let api = Api::new(
        Arc::new(Echo::default()),
        Arc::new(()),
        settings(),
        Arc::new(Metadata::new(MetadataSettings::default())),
        Health::new(Readiness::new()),
        requests,
    );
    let sidecar = Sidecar {
        api,
        echo: Arc::default(),
    };
    assert_eq!(sidecar.send("POST", "/v1.0/shutdown", &[], "").await.0, 204);
    assert_eq!(asked.recv().await, Some(ShutdownRequest::Graceful));
    assert_eq!(
        sidecar
            .send("POST", "/v1.0/shutdown", &[(FORCE_SHUTDOWN, "TRUE")], "")
            .await
            .0,
        204
    );
    assert_eq!(asked.recv().await, Some(ShutdownRequest::Force));
}
