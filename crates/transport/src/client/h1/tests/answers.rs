//! Answers that are complete, broken, too large, early.

use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;

use super::*;
use crate::testing::{accept, read_rest};

/// Asks an app that sends these bytes and closes the connection.
async fn ask(client: impl FnOnce(&str) -> Client, bytes: &str) -> (Result<Answered, ClientError>, Client) {
    let (listener, address) = listen().await;
    let client = client(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, bytes).await;
    };
    let (result, ()) = tokio::join!(client.send(get()), app);
    (result, client)
}

#[tokio::test]
async fn a_truncated_answer_is_never_complete() {
    for (bytes, whole) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd", "abcd"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "ab",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
            "abc",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "abc",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
            "abc",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n",
            "abc",
        ),
    ] {
        let (result, client) = ask(Client::new, bytes).await;
        let mut body = result.unwrap().into_body();
        let mut read = Vec::new();
        let error = loop {
            assert!(!body.is_end_stream(), "{bytes:?}");
            match soon(body.frame()).await {
                Some(Ok(frame)) => read.extend(frame.into_data().unwrap()),
                Some(Err(error)) => break error,
                None => panic!("{bytes:?} counts as complete"),
            }
        };
        assert!(whole.as_bytes().starts_with(&read), "{bytes:?}");
        assert!(
            error.is_incomplete_message() || error.is_body_write_aborted() || is_eof(&error),
            "{error:?}"
        );
        assert_eq!(client.idle(), 0, "{bytes:?}");
        soon(client.tasks.wait()).await;
    }
}

fn is_eof(error: &hyper::Error) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof)
    })
}

#[tokio::test]
async fn chunks_that_are_none_are_an_error() {
    for chunks in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\na",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let (result, client) = ask(Client::new, &bytes).await;
        assert!(text(result.unwrap()).await.is_err(), "{chunks:?}");
        assert_eq!(client.idle(), 0);
    }
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_the_connection() {
    let (result, client) = ask(Client::new, "HTTP/1.1 200 OK\r\n\r\nall of it").await;
    assert_eq!(text(result.unwrap()).await.unwrap(), "all of it");
    assert_eq!(client.idle(), 0);
}

#[tokio::test]
async fn trailers_come_through_and_the_connection_is_kept() {
    let bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n";
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, bytes).await;
        answer(&mut app, &ok("next")).await;
        app
    };
    let calls = async {
        let answer = client.send(get()).await.unwrap();
        let collected = soon(answer.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
        assert_eq!(collected.to_bytes(), "abc");
        assert_eq!(client.get().await, "next");
    };
    let (_app, ()) = tokio::join!(app, calls);
}

#[tokio::test]
async fn trailers_of_the_request_come_after_its_chunks() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        let head = read_head(&mut app).await;
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        let mut sent = Vec::new();
        while !sent.ends_with(b"\r\n\r\n") {
            sent.push(app.read_u8().await.unwrap());
        }
        write(&mut app, ok("")).await;
        String::from_utf8(sent).unwrap()
    };
    let call = async {
        let (mut sender, mut request) = stream();
        request.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        let sending = async {
            sender.send_data("abc".into()).await.unwrap();
            let trailers = [("x-sum".parse().unwrap(), "7".parse().unwrap())];
            sender
                .send_trailers(trailers.into_iter().collect())
                .await
                .unwrap();
            drop(sender);
        };
        let (answer, ()) = tokio::join!(client.send(request), sending);
        answer.unwrap()
    };
    let (sent, _) = tokio::join!(app, call);
    assert_eq!(sent, "3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n");
}

#[tokio::test]
async fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
    let limited = |address: &str| {
        let config = H1Config {
            max_header_bytes: 8192,
            ..H1Config::default()
        };
        Client::with(address, config)
    };
    let fill = 8192 - start.len() - 4;
    for (size, fits) in [(fill, true), (fill + 1, false), (100_000, false)] {
        let bytes = format!("{start}{}\r\n\r\n", "y".repeat(size));
        let (result, client) = ask(limited, &bytes).await;
        match result {
            Ok(_) => assert!(fits, "{size}"),
            Err(error) => {
                assert!(!fits, "{size}: {error}");
                assert_eq!(
                    (error.kind(), error.seen()),
                    (ErrorKind::HeadTooLarge, Seen::Maybe)
                );
                assert_eq!(client.idle(), 0);
            }
        }
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_too_large_before_it_ends() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, "HTTP/1.1 200 OK\r\n").await;
        let line = format!("X: {}\r\n", "y".repeat(1000));
        // Until the client has had enough.
        while tokio::io::AsyncWriteExt::write_all(&mut app, line.as_bytes())
            .await
            .is_ok()
        {}
    };
    let (result, ()) = tokio::join!(client.send(get()), app);
    assert_eq!(result.err().unwrap().kind(), ErrorKind::HeadTooLarge);
}

#[tokio::test]
async fn what_is_not_http_is_malformed() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        let (result, client) = ask(Client::new, bytes).await;
        let error = result.err().unwrap();
        assert_eq!(
            (error.kind(), error.seen()),
            (ErrorKind::Malformed, Seen::Maybe),
            "{bytes:?}"
        );
        assert_eq!(client.idle(), 0);
    }
}

#[tokio::test]
async fn an_early_answer_that_closes_ends_the_request() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(
            &mut app,
            "HTTP/1.1 413 Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        )
        .await;
        app
    };
    let call = async {
        let (sender, request) = stream();
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(text(answer).await.unwrap(), "no");
        sender
    };
    let (mut app, _sender) = tokio::join!(app, call);
    read_rest(&mut app).await;
    assert_eq!(client.idle(), 0);
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn an_early_answer_does_not_make_the_next_call_wait_for_the_request() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut first = accept(&listener).await;
        answer(&mut first, &ok("early")).await;
        let mut second = accept(&listener).await;
        answer(&mut second, &ok("next")).await;
        (first, second)
    };
    let calls = async {
        let (sender, request) = stream();
        let answer = client.send(request).await.unwrap();
        assert_eq!(text(answer).await.unwrap(), "early");
        assert_eq!(client.get().await, "next");
        sender
    };
    let (_app, _sender) = tokio::join!(app, calls);
}

#[tokio::test]
async fn a_request_that_goes_on_after_the_head_of_the_answer_arrives_whole() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await;
        let wanted = b"4\r\nlate\r\n0\r\n\r\n";
        let mut sent = [0; 14];
        soon(app.read_exact(&mut sent)).await.unwrap();
        assert_eq!(&sent, wanted);
        write(&mut app, "done").await;
        answer(&mut app, &ok("next")).await;
        app
    };
    let calls = async {
        let (mut sender, request) = stream();
        let answer = client.send(request).await.unwrap();
        sender.send_data("late".into()).await.unwrap();
        drop(sender);
        assert_eq!(text(answer).await.unwrap(), "done");
        assert_eq!(client.get().await, "next");
    };
    let (_app, ()) = tokio::join!(app, calls);
}
