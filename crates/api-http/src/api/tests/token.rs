//! The token, and the ways around it that there are not.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

#[tokio::test]
async fn the_exemption_of_health_invokes_nothing() {
    let sidecar = sidecar(ApiSettings {
        token: ApiToken::new("t"),
        ..settings()
    });
    let basic = "Basic ZGFwci1hcHAtaWQ6YXBw"; // dapr-app-id:app
    for path in [
        "/v1.0/healthz",
        "/v1.0/healthz/",
        "//v1.0//healthz",
        "/v1.0/healthz/outbound",
        "/v1.0%2Fhealthz",
        "/v1.0/healthz%2F",
        "/v1.0/health%7A",
        "/%2Fv1.0/healthz",
        "/v1.0/healthz%2F..%2F..%2Fsecret",
        "/v1.0/healthz/..%2fsecret",
        "/v1.0/healthz/../../secret",
        "/secret/../v1.0/healthz",
        "/secret%2F..%2Fv1.0/healthz",
        "/v1.0/invoke/app/method/../../../../v1.0/healthz",
        "/v1.0/invoke/app/method/v1.0/healthz",
        "/v1.0/healthz?/v1.0/invoke/app/method/m",
    ] {
        for (method, header) in [
            ("GET", ("dapr-app-id", "app")),
            ("GET", ("authorization", basic)),
            ("POST", ("dapr-app-id", "app")),
            ("HEAD", ("dapr-app-id", "app")),
        ] {
            for shown in [&[header][..], &[header, ("dapr-api-token", "wrong")]] {
                let (status, _) = sidecar.send(method, path, shown, "").await;
                assert!([204, 401, 500].contains(&status), "{method} {path}: {status}");
            }
        }
    }
    assert_eq!(*sidecar.echo.0.lock().unwrap(), []);
}

#[test]
fn nothing_is_invoked_without_the_token() {
    let sidecar = sidecar(ApiSettings {
        token: ApiToken::new("t"),
        ..settings()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pieces = vec![
        "/", "/", "/", "//", "v1.0", "healthz", "outbound", "invoke", "app", "method", "..", ".", "%2F",
        "%2f", "%2e%2e", "%7A", "metadata", "%00", "%25", ";", "?", "x",
    ];
    let path = prop::collection::vec(prop::sample::select(pieces), 0..12);
    let call = (
        path,
        prop::sample::select(vec!["GET", "POST", "HEAD", "OPTIONS"]),
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Config {
        cases: 3000,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&call, |(path, method, has_header)| {
            let path = format!("/{}", path.concat());
            let headers: &[_] = if has_header {
                &[("dapr-app-id", "app")]
            } else {
                &[]
            };
            let (status, _) = runtime.block_on(sidecar.send(method, &path, headers, ""));
            prop_assert!(
                [204, 401, 500].contains(&status),
                "{} {}: {}",
                method,
                path,
                status
            );
            prop_assert_eq!(sidecar.echo.0.lock().unwrap().len(), 0);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn the_token_is_passed_on_in_no_copy() {
    let sidecar = sidecar(ApiSettings {
        token: ApiToken::new("t"),
        ..settings()
    });
    for headers in [
        &[("dapr-api-token", "t"), ("dapr-api-token", "t")][..],
        &[("Dapr-Api-Token", "t"), ("x-kept", "1")],
        &[
            ("dapr-api-token", "t"),
            ("dapr-api-token", "other"),
            ("dapr-app-id", "a"),
        ],
    ] {
        let response = sidecar
            .response("POST", "/v1.0/invoke/a/method/m", headers, "")
            .await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("dapr-api-token"), "{headers:?}");
    }
    // Of two the first must be right.
    let headers = [("dapr-api-token", "other"), ("dapr-api-token", "t")];
    let (status, _) = sidecar
        .send("POST", "/v1.0/invoke/a/method/m", &headers, "")
        .await;
    assert_eq!(status, 401);
}
