//! What the API lets in: tokens, CORS, and limits on heads and bodies.

use std::time::Duration;

use http_body_util::BodyExt;
use integration_tests::{H2Client, HttpApp, Protocol, RawClient, Request, eventually, text};

use crate::stage::{Pair, chunk, head};

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_asked_for_and_the_apps_token_is_shown() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::with(app.port, |sidecar| {
        sidecar
            .env("DAPR_API_TOKEN", "open sesame")
            .env("APP_API_TOKEN", "it is me")
    })
    .await;
    let client = reqwest::Client::new();
    for (path, status) in [
        ("/v1.0/invoke/callee/method/m", 401),
        ("/v1.0/metadata", 401),
        ("/v1.0/healthz/", 204),
        ("/v1.0/healthz", 204),
        ("/v1.0/healthz/outbound", 204),
        ("/v1.0/healthz/../metadata", 401),
        ("/v1.0/invoke/callee/method/v1.0/healthz", 401),
    ] {
        let mut raw = RawClient::connect(pair.caller.http_port).await;
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\ndapr-api-token: wrong\r\n\r\n"
        ))
        .await;
        let answer = raw.receive().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        if status == 401 {
            assert_eq!(answer.text(), "invalid api token\n");
        }
    }
    let answer = client
        .get(pair.url("m"))
        .header("dapr-api-token", "open sesame")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let seen = answer.text().await.unwrap();
    assert!(
        !seen.contains("open sesame"),
        "the token of the API reached the app: {seen}"
    );
    assert!(seen.contains(r#"["dapr-api-token","it is me"]"#), "{seen}");
    // The public port asks for nothing.
    let public = format!("http://127.0.0.1:{}/v1.0/metadata", pair.caller.public_port);
    assert_eq!(client.get(public).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_origin_requests() {
    let app = HttpApp::echo(Protocol::Http).await;
    let on = Pair::with(app.port, |sidecar| {
        sidecar
            .arg("--allowed-origins=https://a.example, https://*.b.example")
            .env("DAPR_API_TOKEN", "secret")
    })
    .await;
    let client = reqwest::Client::new();
    for (origin, is_allowed) in [
        ("https://a.example", true),
        ("https://x.b.example", true),
        ("https://c.example", false),
    ] {
        let answer = client
            .request(http::Method::OPTIONS, on.url("m"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-one, x-two")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{origin}");
        let of = |name: &str| {
            answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let expect = |value: &str| is_allowed.then(|| value.to_owned());
        assert_eq!(of("access-control-allow-origin"), expect(origin), "{origin}");
        assert_eq!(of("access-control-allow-methods"), expect("POST"), "{origin}");
        assert_eq!(
            of("access-control-allow-headers"),
            expect("X-One, X-Two"),
            "{origin}"
        );
        assert_eq!(answer.headers().get_all("vary").iter().count(), 3, "{origin}");
        let answer = client
            .get(on.url("m"))
            .header("origin", origin)
            .header("dapr-api-token", "secret")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.headers().contains_key("access-control-allow-origin"),
            is_allowed
        );
    }
    let off = Pair::new(app.port).await;
    let answer = client
        .request(http::Method::OPTIONS, off.url("m"))
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert!(
        answer.text().await.unwrap().contains("\"method\":\"OPTIONS\""),
        "the app is asked"
    );
}

/// An app that tells how much it got, or that it did not get all.
async fn counting_app() -> HttpApp {
    HttpApp::start(Protocol::Http, |request: Request| async move {
        match request.into_body().collect().await {
            Ok(body) => text(200, body.to_bytes().len().to_string()),
            Err(_) => text(400, "broken"),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_limited_in_every_framing() {
    const LIMIT: usize = 100_000;
    let app = counting_app().await;
    let pair = Pair::with(app.port, |sidecar| sidecar.arg("--max-body-size=100k")).await;
    let too_large = |answer: &str| answer.contains("stream too large");
    for sidecar in [&pair.caller, &pair.callee] {
        for (size, fits) in [(LIMIT, true), (LIMIT + 1, false), (3 * LIMIT, false)] {
            let body = vec![b'x'; size];
            let mut client = RawClient::connect(sidecar.http_port).await;
            client
                .send(format!("{}content-length: {size}\r\n\r\n", head("POST", "m")))
                .await;
            client.try_send(&body).await;
            let answer = client.receive().await;
            // A sidecar that refuses a body does not read it: its answer may be lost with the connection.
            if fits {
                assert_eq!(answer.unwrap().text(), size.to_string());
            } else if let Some(answer) = answer {
                assert_eq!(answer.status(), 500, "declared, {size}");
                assert!(too_large(&answer.text()), "{}", answer.text());
            }
            let mut client = RawClient::connect(sidecar.http_port).await;
            client
                .send(format!("{}transfer-encoding: chunked\r\n\r\n", head("POST", "m")))
                .await;
            for piece in body.chunks(10_000) {
                client.try_send(chunk(piece)).await;
            }
            client.try_send("0\r\n\r\n").await;
            let answer = client.receive().await;
            if fits {
                assert_eq!(answer.unwrap().text(), size.to_string());
            } else if let Some(answer) = answer {
                assert_eq!(answer.status(), 500, "chunked, {size}");
                assert!(too_large(&answer.text()), "{}", answer.text());
            }
        }
        let client = H2Client::connect(sidecar.http_port).await;
        let body = http_body_util::Full::from(vec![b'x'; LIMIT + 1])
            .map_err(|never| match never {})
            .boxed_unsync();
        let answer = client
            .send(http::Method::POST, "/v1.0/invoke/callee/method/m", body)
            .await
            .unwrap();
        assert_eq!(answer.status(), 500);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(too_large(&String::from_utf8_lossy(&body)));
    }
    // A body that only says that it is too large is refused before it is sent.
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!(
            "{}content-length: {}\r\n\r\n",
            head("POST", "m"),
            1_u64 << 40
        ))
        .await;
    assert!(too_large(&client.receive().await.unwrap().text()));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_limited() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let wide = Pair::with(app.port, |sidecar| sidecar.arg("--read-buffer-size=128Ki")).await;
    let large = format!("x-large: {}\r\n", "x".repeat(64 << 10));
    let many = "x-small: 1\r\n".repeat(6000);
    for (pair, headers, status) in [
        (&pair, &large, 431),
        (&pair, &many, 431),
        (&wide, &large, 200),
        (&wide, &many, 431),
    ] {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        // The answer may come before all of it is sent.
        client
            .try_send(format!("{}{headers}\r\n", head("GET", "m")))
            .await;
        let answer = client.receive().await.expect("an answer");
        assert_eq!(answer.status(), status, "{}", answer.text());
        if status == 200 {
            assert!(answer.text().contains(&"x".repeat(64 << 10)));
        } else {
            assert!(client.is_closed().await);
        }
    }
    // Over HTTP/2 the request is refused and the connection goes on.
    let client = H2Client::connect(pair.caller.http_port).await;
    let long = "x".repeat(32 << 10);
    assert!(
        client
            .get(&format!("/v1.0/invoke/callee/method/m?{long}"))
            .await
            .map_or(true, |answer| answer.status() == 431)
    );
    let client = H2Client::connect(pair.caller.http_port).await;
    assert_eq!(
        client.get("/v1.0/invoke/callee/method/m").await.unwrap().status(),
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_ends_its_connection_and_no_other() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let mut silent = RawClient::connect(pair.caller.http_port).await;
    let mut half = RawClient::connect(pair.caller.http_port).await;
    half.send("GET /v1.0/healthz HTTP/1.1\r\nx-a").await;
    let mut drip = RawClient::connect(pair.caller.http_port).await;
    let dripping = async {
        let line = "GET /v1.0/healthz HTTP/1.1\r\nx-slow: "
            .bytes()
            .chain(std::iter::repeat(b'x'));
        for byte in line {
            if !drip.try_send([byte]).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (silent, half, ()) = tokio::time::timeout(integration_tests::PATIENCE, async {
        tokio::join!(silent.is_closed(), half.is_closed(), dripping)
    })
    .await
    .expect("slow connections are closed");
    assert!(silent && half);
    assert_eq!(reqwest::get(pair.url("m")).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_in_two_ways_is_refused() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let smuggled = "0\r\n\r\nGET /v1.0/invoke/callee/method/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for headers in [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n",
            smuggled.len()
        ),
        format!(
            "transfer-encoding: chunked\r\ncontent-length: {}\r\n",
            smuggled.len()
        ),
        "content-length: 5\r\ncontent-length: 6\r\n".to_owned(),
        "content-length: +5\r\n".to_owned(),
        "content-length: 5, 6\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
    ] {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}{headers}\r\n{smuggled}", head("POST", "m")))
            .await;
        let answer = client.receive().await;
        if let Some(answer) = answer {
            assert!(
                [400, 501].contains(&answer.status()),
                "{headers}: {}",
                answer.status_line
            );
        }
        assert!(
            client.receive().await.is_none(),
            "{headers}: a second request was served"
        );
    }
    eventually("the sidecar to be well", || async {
        reqwest::get(pair.url("m"))
            .await
            .is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}
