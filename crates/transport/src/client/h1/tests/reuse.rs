//! When a connection serves another call.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::client::Proxies;
use crate::testing::{accept, read_rest};

/// A client that has one idle connection to an app.
async fn idle_connection() -> (TcpListener, TcpStream, Client) {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("1")).await;
        app
    };
    let (text, app) = tokio::join!(client.get(), app);
    assert_eq!((text.as_str(), client.idle()), ("1", 1));
    (listener, app, client)
}

#[tokio::test]
async fn a_connection_is_reused_after_each_kind_of_complete_answer() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let answers = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ""),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "x",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext\r\nde\r\n0\r\n\r\n",
            "abcde",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "",
        ),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\n!", "!"),
    ];
    let app = async {
        let mut app = accept(&listener).await;
        for (bytes, _) in answers {
            answer(&mut app, bytes).await;
        }
        app
    };
    let calls = async {
        for (bytes, wanted) in answers {
            assert_eq!(client.get().await, wanted, "{bytes:?}");
            assert_eq!(client.idle(), 1, "{bytes:?}");
        }
    };
    let (_app, ()) = tokio::join!(app, calls);
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whatever_it_says() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
        answer(&mut app, &ok("next")).await;
        app
    };
    let calls = async {
        let mut request = get();
        *request.method_mut() = Method::HEAD;
        let head = client.send(request).await.unwrap();
        assert_eq!(head.headers()["content-length"], "9");
        assert_eq!(text(head).await.unwrap(), "");
        assert_eq!(client.get().await, "next");
    };
    let (_app, ()) = tokio::join!(app, calls);
}

#[tokio::test]
async fn no_reuse_when_the_app_says_close() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
    ] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        let app = async {
            let mut first = accept(&listener).await;
            answer(&mut first, &format!("{head}1")).await;
            if head.contains("Content-Length") {
                // It is the client that closes.
                assert_eq!(read_rest(&mut first).await, "");
            }
            drop(first);
            let mut second = accept(&listener).await;
            answer(&mut second, &ok("2")).await;
            second
        };
        let calls = async { (client.get().await, client.get().await) };
        let (_app, texts) = tokio::join!(app, calls);
        assert_eq!(texts, ("1".to_owned(), "2".to_owned()), "{head:?}");
    }
}

#[tokio::test]
async fn a_connection_that_the_app_closed_idle_is_passed_over() {
    let (listener, app, client) = idle_connection().await;
    drop(app);
    // Whether or not the end was seen before the request goes out, the call goes through: nothing of it was
    // taken in by anybody.
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("2")).await;
        app
    };
    let (text, _app) = tokio::join!(client.get(), app);
    assert_eq!(text, "2");
}

#[tokio::test]
async fn an_idle_connection_that_talks_is_closed() {
    let (listener, mut app, client) = idle_connection().await;
    write(
        &mut app,
        "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(read_rest(&mut app).await, "");
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("2")).await;
        app
    };
    let (text, _app) = tokio::join!(client.get(), app);
    assert_eq!(text, "2");
}

#[tokio::test]
async fn a_harmless_request_is_sent_again_when_a_reused_connection_breaks() {
    let (listener, mut first, client) = idle_connection().await;
    let app = async {
        read_head(&mut first).await;
        drop(first);
        let mut second = accept(&listener).await;
        answer(&mut second, &ok("2")).await;
        second
    };
    let (text, _app) = tokio::join!(client.get(), app);
    assert_eq!(text, "2");
}

#[tokio::test]
async fn another_request_is_not_sent_again_once_it_was_written() {
    let (_listener, mut app, client) = idle_connection().await;
    let app = async {
        read_head(&mut app).await;
        drop(app);
    };
    let (result, ()) = tokio::join!(client.send(post("x")), app);
    let error = result.err().unwrap();
    assert!(
        matches!(error.kind(), ErrorKind::Closed | ErrorKind::Reset),
        "{error:?}"
    );
    assert_eq!(error.seen(), Delivery::Maybe);
}

#[tokio::test]
async fn a_harmless_request_is_not_sent_again_when_the_answer_was_bad() {
    let (listener, mut app, client) = idle_connection().await;
    let app = async {
        answer(&mut app, "nonsense\r\n\r\n").await;
        assert_eq!(read_rest(&mut app).await, "");
    };
    let (result, ()) = tokio::join!(
        async {
            tokio::select! {
                result = client.send(get()) => result,
                _ = accept(&listener) => panic!("sent again"),
            }
        },
        app
    );
    assert_eq!(result.err().unwrap().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_an_error_even_for_harmless_requests() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        read_head(&mut app).await;
    };
    let (result, ()) = tokio::join!(client.send(get()), app);
    let error = result.err().unwrap();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Closed, Delivery::Maybe));
    assert_eq!(error.to_string(), "EOF");
}

#[tokio::test]
async fn old_idle_connections_are_not_used_and_few_are_kept() {
    for config in [
        H1Config {
            idle_timeout: Duration::ZERO,
            ..H1Config::default()
        },
        H1Config {
            max_idle: 0,
            surplus_timeout: Duration::ZERO,
            ..H1Config::default()
        },
    ] {
        let (listener, address) = listen().await;
        let client = Client::with(&address, config);
        let app = async {
            let mut first = accept(&listener).await;
            answer(&mut first, &ok("1")).await;
            let mut second = accept(&listener).await;
            assert_eq!(read_rest(&mut first).await, "");
            answer(&mut second, &ok("2")).await;
            second
        };
        let calls = async { (client.get().await, client.get().await) };
        let (_app, texts) = tokio::join!(app, calls);
        assert_eq!(texts, ("1".to_owned(), "2".to_owned()));
    }
}

/// An app that answers two calls on one connection.
async fn answer_twice(listener: &TcpListener) -> TcpStream {
    let mut app = accept(listener).await;
    for body in ["1", "2"] {
        answer(&mut app, &ok(body)).await;
    }
    app
}

#[tokio::test]
async fn connections_of_a_burst_stay_for_a_moment() {
    let (listener, address) = listen().await;
    let config = H1Config {
        max_idle: 0,
        surplus_timeout: Duration::from_secs(600),
        ..H1Config::default()
    };
    let client = Client::with(&address, config);
    let app = answer_twice(&listener);
    let calls = async { (client.get().await, client.get().await) };
    let (_app, texts) = tokio::join!(app, calls);
    assert_eq!(texts, ("1".to_owned(), "2".to_owned()));
}

#[tokio::test]
async fn further_calls_wait_for_a_place() {
    let (listener, address) = listen().await;
    let config = H1Config {
        max_connections: 1,
        ..H1Config::default()
    };
    let client = Client::with(&address, config);
    let app = answer_twice(&listener);
    let calls = async {
        let first = client.send(get()).await.unwrap();
        let mut second = Box::pin(client.pool.send(get()));
        assert!(is_pending(&mut second).await, "there is no place yet");
        assert_eq!(text(first).await.unwrap(), "1");
        text(soon(second).await.unwrap()).await.unwrap()
    };
    let (_app, second) = tokio::join!(app, calls);
    assert_eq!(second, "2");
}

#[tokio::test]
async fn idle_connections_are_closed_with_the_pool() {
    let (_listener, mut app, client) = idle_connection().await;
    let Client { pool, tasks } = client;
    drop(pool);
    assert_eq!(read_rest(&mut app).await, "");
    soon(tasks.wait()).await;
}

/// A client behind a SOCKS proxy, which the test plays: connections are made when it says so.
fn behind_proxy(address: &str) -> Client {
    let (proxies, _) = Proxies::of(|name| (name == "HTTP_PROXY").then(|| format!("socks5://{address}")));
    let config = H1Config {
        proxy: proxies.before(false, "app.test").unwrap(),
        ..H1Config::default()
    };
    Client::with("app.test:80", config)
}

/// Lets a client of the proxy through, to the app that the test plays, too.
async fn let_through(socket: &mut TcpStream) {
    let mut methods = [0; 3];
    soon(socket.read_exact(&mut methods)).await.unwrap();
    socket.write_all(&[5, 0]).await.unwrap();
    let mut wanted = [0; 5 + "app.test".len() + 2];
    soon(socket.read_exact(&mut wanted)).await.unwrap();
    socket.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
}

/// A client with two connections: one that had two calls, and one that came too late for the second.
async fn one_used_and_one_unused() -> (Client, TcpStream, TcpStream) {
    let (listener, address) = listen().await;
    let client = behind_proxy(&address);
    let first = async {
        let mut app = accept(&listener).await;
        let_through(&mut app).await;
        answer(&mut app, &ok("1")).await;
        app
    };
    let (one, mut app) = tokio::join!(client.send(get()), first);
    let mut two = Box::pin(client.pool.send(get()));
    assert!(is_pending(&mut two).await);
    let mut late = accept(&listener).await;
    assert!(is_pending(&mut two).await, "the new connection is not there yet");
    let answers = async {
        assert_eq!(text(one.unwrap()).await.unwrap(), "1");
        text(soon(two).await.unwrap()).await.unwrap()
    };
    let second = ok("2");
    let (two, _) = tokio::join!(answers, answer(&mut app, &second));
    assert_eq!((two.as_str(), client.idle()), ("2", 1));
    let_through(&mut late).await;
    while client.idle() < 2 {
        tokio::task::yield_now().await;
    }
    (client, app, late)
}

#[tokio::test]
async fn a_call_that_waits_for_a_new_connection_takes_one_that_comes_back() {
    let (client, _app, mut late) = one_used_and_one_unused().await;
    // The new one is there for the next call.
    let third = ok("3");
    let (three, _) = tokio::join!(client.get(), answer(&mut late, &third));
    assert_eq!(three, "3");
}

/// A server with few threads gives one to each connection, and misses it while nothing comes.
#[tokio::test]
async fn a_connection_that_no_call_wanted_is_closed_soon() {
    let (client, _app, mut late) = one_used_and_one_unused().await;
    later(H1Config::default().surplus_timeout).await;
    assert_eq!(soon(late.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(client.idle(), 1);
}

/// How long a server waits for a first request says nothing about how long it waits for the next.
#[tokio::test]
async fn a_connection_that_no_call_wanted_teaches_nothing() {
    let (client, _app, _late) = one_used_and_one_unused().await;
    let pool = &client.pool.0;
    let (unused, _) = pool.take_idle(true).unwrap();
    let before = pool.keeping.young();
    assert!(pool.is_open(&unused.watch, Duration::from_secs(10)));
    assert_eq!(pool.keeping.young(), before);
    let (used, _) = pool.take_idle(true).unwrap();
    assert!(pool.is_open(&used.watch, Duration::from_secs(10)));
    assert!(pool.keeping.young() > before);
}
