//! The components that Dapr does not have: what people otherwise put a proxy in front for.

use integration_tests::{HttpApp, Protocol, RawClient, run_daprd};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::pipelines::blocks_of_the_page;
use super::{Stage, started};

const ALL: [(&str, &str); 4] = [
    ("pages", "rs.cors"),
    ("callers", "rs.ipfilter"),
    ("uploads", "rs.bodylimit"),
    ("names", "rs.headers"),
];

fn stage() -> Stage {
    let stage = Stage::new(&ALL, &[]);
    stage
        .middleware("pages", "rs.cors", &[("allowedOrigins", "https://*.example.com")])
        .middleware(
            "callers",
            "rs.ipfilter",
            &[
                ("allow", "10.0.0.0/8"),
                ("trustedProxies", "127.0.0.1"),
                ("pathFilter", "/method/inside"),
            ],
        )
        .middleware(
            "uploads",
            "rs.bodylimit",
            &[("maxBodySize", "1Ki"), ("pathFilter", "/method/upload$")],
        )
        .middleware(
            "names",
            "rs.headers",
            &[
                ("removeRequestHeaders", "X-Debug"),
                ("setRequestHeaders", r#"{"X-Tenant": "shop"}"#),
                ("setResponseHeaders", r#"{"X-Frame-Options": "DENY"}"#),
            ],
        );
    stage
}

#[tokio::test]
async fn pages_callers_uploads_and_headers() {
    let app = HttpApp::echo(Protocol::Http).await;
    let sidecar = started(stage().sidecar("me").app_port(app.port)).await;
    let client = Client::new();
    let url = |method: &str| sidecar.invoke_url("me", method);

    let asked = client
        .request(Method::OPTIONS, url("m"))
        .header("origin", "https://shop.example.com")
        .header("access-control-request-method", "POST");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://shop.example.com"
    );
    assert_eq!(
        answer.headers()["access-control-allow-methods"],
        "GET, HEAD, POST"
    );

    let called = client
        .post(url("m"))
        .header("origin", "https://shop.example.com")
        .header("x-debug", "1")
        .header("x-tenant", "forged");
    let answer = called.send().await.unwrap();
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://shop.example.com"
    );
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    let echo: Value = answer.json().await.unwrap();
    let headers = echo["headers"].as_array().unwrap();
    let seen: Vec<&Value> = headers
        .iter()
        .filter(|header| header[0] == "x-tenant" || header[0] == "x-debug")
        .map(|header| &header[1])
        .collect();
    assert_eq!(seen, ["shop"]);

    for (address, status) in [("10.1.2.3", 200), ("11.1.2.3", 403), ("10.1.2.3, 11.1.2.3", 403)] {
        let call = client.get(url("inside")).header("x-forwarded-for", address);
        assert_eq!(call.send().await.unwrap().status(), status, "{address}");
    }
    assert_eq!(client.get(url("outside")).send().await.unwrap().status(), 200);

    for (method, length, status) in [("upload", 1024, 200), ("upload", 1025, 413), ("other", 1025, 200)] {
        let call = client.post(url(method)).body("x".repeat(length));
        assert_eq!(call.send().await.unwrap().status(), status, "{method} {length}");
    }
    // Without a length it is counted as it comes.
    let mut raw = RawClient::connect(sidecar.http_port).await;
    let head = "POST /v1.0/invoke/me/method/upload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    raw.send(format!(
        "{head}400\r\n{}\r\n1\r\nx\r\n0\r\n\r\n",
        "x".repeat(1024)
    ))
    .await;
    let answer = raw.receive().await.unwrap();
    assert!(answer.status() >= 400, "{}", answer.text());
}

#[tokio::test]
async fn the_examples_of_the_documentation_do_what_they_say() {
    let app = HttpApp::echo(Protocol::Http).await;
    let stage = Stage::new(&ALL, &[]);
    let folder = stage.mesh.folder().join("resources");
    std::fs::create_dir(&folder).unwrap();
    let components = blocks_of_the_page()
        .into_iter()
        .filter(|block| block.contains("middleware.http.rs."));
    for (index, component) in components.enumerate() {
        std::fs::write(folder.join(format!("{index}.yaml")), component).unwrap();
    }
    let sidecar = started(stage.sidecar("me").app_port(app.port)).await;
    let client = Client::new();
    let asked = client
        .request(Method::OPTIONS, sidecar.invoke_url("me", "m"))
        .header("origin", "https://a.partners.example.com")
        .header("access-control-request-method", "PUT");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-max-age"], "600");
    assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
    for (length, status) in [(65_536, 200), (65_537, 413)] {
        let call = client.post(sidecar.invoke_url("me", "comment"));
        let answer = call.body("x".repeat(length)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{length}");
    }
    let answer = client.get(sidecar.invoke_url("me", "m")).send().await.unwrap();
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    let echo: Value = answer.json().await.unwrap();
    assert!(
        echo["headers"].to_string().contains(r#"["x-tenant","shop"]"#),
        "{echo}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_told_with_component_and_field() {
    for (kind, field, value, wanted) in [
        (
            "rs.cors",
            "allowedOrigins",
            "example.com",
            "allowedOrigins: \"example.com\" is no origin",
        ),
        (
            "rs.ipfilter",
            "allow",
            "10/8",
            "allow: \"10/8\" is no address and no network",
        ),
        (
            "rs.bodylimit",
            "maxBodySize",
            "much",
            "maxBodySize: \"much\" is no size",
        ),
        (
            "rs.headers",
            "removeRequestHeaders",
            "Host",
            "removeRequestHeaders: host says how a message",
        ),
        ("rs.claims", "headers", "{}", "headers: claims must be there"),
    ] {
        let stage = Stage::new(&[("edge", kind)], &[]);
        stage.middleware("edge", kind, &[(field, value)]);
        let exit = stage.sidecar("me").without_waiting().start().await.exit().await;
        assert_eq!(exit.code, Some(1));
        let component = format!("edge (middleware.http.{kind}/v1)");
        let plain = |text: &str| text.replace(['\\', '"'], "");
        let said = plain(&exit.stdout);
        assert!(
            said.contains(&plain(wanted)) && said.contains(&component),
            "{said}"
        );
        let folder = stage.mesh.folder().join("resources").display().to_string();
        let checked = run_daprd(["check", &folder]).await;
        let told = plain(&checked.stdout);
        assert!(checked.code != Some(0) && told.contains(&plain(wanted)), "{told}");
    }
}
