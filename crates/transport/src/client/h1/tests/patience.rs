//! Calls that may not be repeated, and apps that close idle connections.

use tokio::net::TcpListener;

use super::*;
use crate::testing::{accept, read_rest};

const SECOND: Duration = Duration::from_secs(1);

/// A client that has one idle connection to an app, which answered with this header, too.
async fn idle_connection(header: &str) -> (TcpListener, TcpStream, Client) {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(
            &mut app,
            &format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 1\r\n\r\n1"),
        )
        .await;
        app
    };
    let (text, app) = tokio::join!(client.get(), app);
    assert_eq!((text.as_str(), client.idle()), ("1", 1));
    (listener, app, client)
}

/// Makes a call and tells on which connection it came: nothing for the one that is there, or a new one.
async fn on_a_new_one(
    client: &Client,
    request: Request<Sent>,
    old: &mut TcpStream,
    listener: &TcpListener,
) -> Option<TcpStream> {
    let app = async {
        tokio::select! {
            _ = async { old.peek(&mut [0]).await } => {
                answer(old, &ok("old")).await;
                None
            }
            mut new = accept(listener) => {
                answer(&mut new, &ok("new")).await;
                Some(new)
            }
        }
    };
    let call = async { text(client.send(request).await.unwrap()).await.unwrap() };
    let (new, text) = tokio::join!(app, call);
    assert_eq!(text, if new.is_some() { "new" } else { "old" });
    new
}

fn bare_post() -> Request<Sent> {
    let mut request = get();
    *request.method_mut() = Method::POST;
    request
}

#[tokio::test]
async fn what_may_not_be_repeated_gets_a_young_connection() {
    for (header, idle, wanted) in [
        ("", Duration::from_millis(900), false),
        ("", Duration::from_millis(1100), true),
        ("Keep-Alive: timeout=5\r\n", 2 * SECOND, false),
        ("Keep-Alive: timeout=5\r\n", 3 * SECOND, true),
        ("Keep-Alive: timeout=60, max=100\r\n", 29 * SECOND, false),
        ("Keep-Alive: timeout=0\r\n", SECOND / 10, true),
    ] {
        let (listener, mut app, client) = idle_connection(header).await;
        later(idle).await;
        let new = on_a_new_one(&client, bare_post(), &mut app, &listener).await;
        assert_eq!(new.is_some(), wanted, "{header:?} {idle:?}");
    }
}

#[tokio::test]
async fn what_may_be_repeated_tries_an_old_one() {
    let (listener, mut app, client) = idle_connection("").await;
    later(80 * SECOND).await;
    let new = on_a_new_one(&client, get(), &mut app, &listener).await;
    assert!(new.is_none());
}

#[tokio::test]
async fn a_patient_app_is_known_by_and_by() {
    let (listener, mut last, client) = idle_connection("").await;
    let mut all = Vec::new();
    // Each time that a connection is seen open more is known.
    for _ in 0..3 {
        later(10 * SECOND).await;
        let new = on_a_new_one(&client, bare_post(), &mut last, &listener).await;
        all.push(std::mem::replace(&mut last, new.unwrap()));
    }
    later(4 * SECOND).await;
    let new = on_a_new_one(&client, bare_post(), &mut last, &listener).await;
    assert!(new.is_none());
}

#[tokio::test]
async fn an_impatient_app_is_known_when_it_has_closed_once() {
    let (_listener, app, client) = idle_connection("Keep-Alive: timeout=5\r\n").await;
    later(SECOND).await;
    drop(app);
    while client.idle() > 0 {
        tokio::task::yield_now().await;
    }
    let young = client.pool.0.keeping.young();
    assert!(young >= SECOND / 2 && young < SECOND, "{young:?}");
}

#[tokio::test]
async fn an_app_that_says_close_is_not_impatient() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\n\r\n1",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
    ] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        for _ in 0..3 {
            let app = async {
                let mut app = accept(&listener).await;
                answer(&mut app, head).await;
            };
            let (text, ()) = tokio::join!(client.get(), app);
            assert_eq!((text.as_str(), client.idle()), ("1", 0), "{head:?}");
            soon(client.tasks.wait()).await;
        }
        assert_eq!(client.pool.0.keeping.young(), SECOND, "{head:?}");
    }
}

/// The end has come, but nobody has told hyper.
#[tokio::test]
async fn a_connection_is_looked_at_before_it_is_used() {
    let (listener, app, client) = idle_connection("").await;
    drop(app);
    // The reactor does not run meanwhile.
    std::thread::sleep(Duration::from_millis(20));
    let app = async {
        let mut app = accept(&listener).await;
        let head = read_head(&mut app).await;
        write(&mut app, ok("new")).await;
        (app, head)
    };
    let call = async { text(client.send(bare_post()).await.unwrap()).await.unwrap() };
    let ((_app, head), text) = tokio::join!(app, call);
    assert!(head.starts_with("POST"));
    assert_eq!(text, "new");
}

#[tokio::test]
async fn a_connection_that_talks_is_not_used() {
    let (listener, mut app, client) = idle_connection("").await;
    let stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
    socket2::SockRef::from(&app).send(stray.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let next = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("new")).await;
        app
    };
    let call = async { text(client.send(bare_post()).await.unwrap()).await.unwrap() };
    let (_next, text) = tokio::join!(next, call);
    assert_eq!(text, "new");
    assert_eq!(read_rest(&mut app).await, "");
}

/// A server that closes idle connections by a rule, as common ones do: `(what it is, when it closes at the earliest
/// and at the latest, what it announces)`. Every call comes just when the connection of the one before is closed.
#[tokio::test]
async fn no_call_is_lost_at_the_moment_of_closing() {
    for (name, earliest, latest, header) in [
        (
            "Node",
            5 * SECOND,
            6 * SECOND,
            "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
        ),
        ("uvicorn", 5 * SECOND, 5 * SECOND, ""),
        ("gunicorn, threads", 2 * SECOND, 3 * SECOND, ""),
        (
            "Tomcat",
            20 * SECOND,
            21 * SECOND,
            "Keep-Alive: timeout=20\r\nConnection: keep-alive\r\n",
        ),
        ("Tomcat 8", 20 * SECOND, 21 * SECOND, ""),
        (
            "Apache",
            5 * SECOND,
            5 * SECOND,
            "Keep-Alive: timeout=5, max=100\r\n",
        ),
    ] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        for round in 0..20 {
            let app = async {
                let mut app = accept(&listener).await;
                let answered = format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 1\r\n\r\n1");
                let head = answer(&mut app, &answered).await;
                assert!(head.starts_with("POST"), "{name}: {head}");
                app
            };
            let call = async { client.send(bare_post()).await };
            let (answered, app) = tokio::join!(call, app);
            assert_eq!(
                text(answered.unwrap()).await.unwrap(),
                "1",
                "{name}, call {round}"
            );
            later(if round % 2 == 0 { earliest } else { latest }).await;
            // The call and the close are under way at the same time: a call on this connection would be lost.
            drop(app);
        }
    }
}
