//! A browser logs in somewhere else (`middleware.http.oauth2`).

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use integration_tests::{HttpApp, Protocol, text};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Response, StatusCode};

use super::{Stage, started};

/// An authorization server: what was asked of it, and what it answers.
async fn server(asked: Arc<Mutex<Vec<String>>>) -> HttpApp {
    HttpApp::start(Protocol::Http, move |request| {
        let asked = Arc::clone(&asked);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let is_good = body.contains("code=good");
            asked.lock().unwrap().push(body);
            if is_good {
                text(
                    200,
                    r#"{"access_token":"token","token_type":"bearer","expires_in":3600}"#,
                )
            } else {
                text(400, r#"{"error":"invalid_grant"}"#)
            }
        }
    })
    .await
}

fn header(answer: &Response, name: reqwest::header::HeaderName) -> String {
    let value = answer.headers().get(name).unwrap();
    value.to_str().unwrap().to_owned()
}

/// The cookie that an answer sets, as it is sent back.
fn cookie(answer: &Response) -> String {
    let cookie = header(answer, SET_COOKIE);
    let (pair, attributes) = cookie.split_once(';').unwrap();
    assert!(pair.starts_with("gosessionsid="), "{cookie}");
    assert!(
        attributes.contains("Path=/") && attributes.contains("HttpOnly"),
        "{cookie}"
    );
    pair.to_owned()
}

fn state(location: &str) -> String {
    let (_, state) = location.split_once("state=").unwrap();
    state.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_and_its_requests_have_its_token() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = server(Arc::clone(&asked)).await;
    let app = HttpApp::start(Protocol::Http, |request| async move {
        let token = request.headers().get("x-token");
        let token = token.map_or("none", |token| token.to_str().unwrap()).to_owned();
        text(200, format!("{} {token}", request.uri()))
    })
    .await;
    let stage = Stage::new(&[("login", "oauth2")], &[]);
    let token_url = format!("http://127.0.0.1:{}/token", server.port);
    let metadata = [
        ("clientID", "shop"),
        ("clientSecret", "secret"),
        ("scopes", "a,b"),
        ("authURL", "http://login.example/authorize?tenant=1"),
        ("tokenURL", &token_url),
        ("redirectURL", "http://127.0.0.1/back"),
        ("authHeaderName", "X-Token"),
        ("pathFilter", "^/v1.0/invoke/me/method/(private|back|/)"),
    ];
    stage.middleware("login", "oauth2", &metadata);
    let sidecar = started(stage.sidecar("me").app_port(app.port)).await;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let get = |path: &str, cookie: &str| {
        let request = client.get(sidecar.invoke_url("me", path)).header(COOKIE, cookie);
        async { request.send().await.unwrap() }
    };
    assert_eq!(get("open", "").await.text().await.unwrap(), "/open none");

    let sent = get("private?a=1&b=2", "other=1; gosessionsid=chosen").await;
    assert_eq!(sent.status(), StatusCode::FOUND);
    let location = header(&sent, LOCATION);
    let state_sent = state(&location);
    assert_eq!(
        location,
        format!(
            "http://login.example/authorize?tenant=1&access_type=offline&client_id=shop&redirect_uri=\
             http%3A%2F%2F127.0.0.1%2Fback&response_type=code&scope=a+b&state={state_sent}"
        )
    );
    let session = cookie(&sent);
    assert_ne!(session, "gosessionsid=chosen");

    // Requests of one browser at once: each may finish its login.
    let mut states = vec![state_sent];
    for path in ["private/a", "private/b", "private/c"] {
        let sent = get(path, &session).await;
        assert_eq!(cookie(&sent), session);
        states.push(state(&header(&sent, LOCATION)));
    }

    // Nothing but the right state, of this session, with a code that is good. Whatever comes of it, a state is good once.
    let wrong = [
        (0, "good", "", 500, "Internal Server Error"),
        (1, "", &session, 400, "code not found"),
        (1, "good", &session, 400, "invalid state"),
        (2, "bad", &session, 500, "Internal Server Error"),
        (2, "good", &session, 400, "invalid state"),
    ];
    for (state, code, cookie, status, said) in wrong {
        let path = format!("back?state={}&code={code}", states[state]);
        let answer = get(&path, cookie).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.text().await.unwrap(), said, "{path}");
    }

    let back = get(&format!("back?state={}&code=good", states[0]), &session).await;
    assert_eq!(back.status(), StatusCode::FOUND);
    assert_eq!(header(&back, LOCATION), "/v1.0/invoke/me/method/private?a=1&b=2");
    let logged_in = cookie(&back);
    assert_ne!(logged_in, session);
    let exchanges = {
        let asked = asked.lock().unwrap();
        assert_eq!(
            asked.last().unwrap(),
            "code=good&grant_type=authorization_code&redirect_uri=http%3A%2F%2F127.0.0.1%2Fback"
        );
        asked.len()
    };
    // The other login that was pending needs no token any more.
    let other = get(&format!("back?state={}&code=good", states[3]), &logged_in).await;
    assert_eq!(header(&other, LOCATION), "/v1.0/invoke/me/method/private/c");
    assert_eq!(cookie(&other), logged_in);
    assert_eq!(asked.lock().unwrap().len(), exchanges);

    let private = get("private", &format!("a=b; {logged_in}")).await;
    assert_eq!(private.text().await.unwrap(), "/private Bearer token");
    // The session from before the login knows nothing any more.
    let again = get(&format!("back?state={}&code=good", states[0]), &session).await;
    assert_eq!(again.status(), 500);
    assert_eq!(get("private", &session).await.status(), StatusCode::FOUND);
}
