//! Answers that are complete, broken, too large, early.

use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
            matches!(&error, AnswerError::Broken { source, .. } if source.is_incomplete_message())
                || is_eof(&error),
            "{error:?}"
        );
        assert_eq!(client.idle(), 0, "{bytes:?}");
        soon(client.tasks.wait()).await;
    }
}

fn is_eof(error: &AnswerError) -> bool {
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
                    (ErrorKind::HeadTooLarge, Delivery::Maybe)
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
        let line = format!("X: {}\r\n", "y".repeat(10_000));
        // Until the client has had enough.
        while app.write_all(line.as_bytes()).await.is_ok() {}
    };
    let (result, ()) = tokio::join!(client.send(get()), app);
    assert_eq!(result.err().unwrap().kind(), ErrorKind::HeadTooLarge);
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

/// The app takes the head of a request in, answers, and closes: the rest of the request, which it has not read,
/// makes its system reset the connection.
#[tokio::test]
async fn an_early_answer_is_read_although_the_connection_is_reset() {
    for _ in 0..20 {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        let app = async {
            let mut app = accept(&listener).await;
            let answered = "HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno";
            answer(&mut app, answered).await;
            app.readable().await.unwrap();
        };
        let call = async {
            let body = Full::from(vec![b'x'; 1 << 20]).map_err(BoxError::from);
            let request = Request::post("/").header("host", "app");
            let request = request.body(body.boxed_unsync()).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status(), 413);
            assert_eq!(text(answer).await.unwrap(), "no");
        };
        tokio::join!(app, call);
    }
}

/// The reset is there before anything of the body is written.
#[tokio::test]
async fn an_answer_is_read_even_if_the_body_finds_a_reset() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let (mut sender, request) = stream();
    let app = async {
        let mut app = accept(&listener).await;
        read_head(&mut app).await;
        app
    };
    let mut call = Box::pin(client.pool.send(request));
    let mut app = tokio::select! {
        _ = &mut call => panic!("nobody answered"),
        app = app => app,
    };
    // Nobody polls the call, and the reactor does not run, until all of this has happened.
    sender.try_send(Frame::data("piece".into())).unwrap();
    let app = std::pin::pin!(async {
        app.write_all(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno")
            .await
            .unwrap();
        socket2::SockRef::from(&app)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(app);
    });
    app.await;
    let answer = soon(call).await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(text(answer).await.unwrap(), "no");
}

#[tokio::test]
async fn an_answer_that_is_short_and_comes_at_once() {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    for (pieces, wanted) in [
        (&[&format!("{start}half")[..]][..], true),
        (&[start, "half"], false),
        (&[&start[..20], &start[20..], "half"], false),
        (&[&format!("{start}ha")[..], "lf"], false),
    ] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        let app = async {
            let mut app = accept(&listener).await;
            read_head(&mut app).await;
            for (number, piece) in pieces.iter().enumerate() {
                if number > 0 {
                    // The piece before has been read.
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                write(&mut app, piece).await;
            }
        };
        let (answer, ()) = tokio::join!(client.send(get()), app);
        let error = text(answer.unwrap()).await.unwrap_err();
        assert_eq!(error.ended_at_once(), wanted, "{pieces:?}");
    }
}

#[tokio::test]
async fn an_answer_that_stops_and_is_closed_later_did_not_end_at_once() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        app
    };
    let (answer, app) = tokio::join!(client.send(get()), app);
    later(Duration::from_secs(1)).await;
    drop(app);
    let error = text(answer.unwrap()).await.unwrap_err();
    assert!(!error.ended_at_once());
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
