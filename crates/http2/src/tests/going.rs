//! How connections end in good order.

use crate::frame::{flag, kind};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Config, Error, Reason, Side, client, server};

const END: u8 = flag::END_STREAM;

#[tokio::test]
async fn a_server_that_leaves_takes_what_is_on_its_way_and_then_no_more() {
    let (io, other) = tokio::io::duplex(1 << 20);
    let connection = server::serve(other, Config::default(), echo);
    let shared = connection.shared();
    let (leave, left) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = &mut connection => panic!("too early"),
            _ = left => connection.leave(),
        }
        // More than once is once.
        connection.leave();
        connection.await
    });
    let mut peer = Peer { io };
    peer.send([crate::frame::PREFACE, &settings(&[])[..], &headers(0, 1, POST)].concat())
        .await;
    peer.sync().await;
    leave.send(()).unwrap();
    let warning = peer.next(&[kind::GOAWAY]).await;
    assert_eq!((warning.number(0), warning.number(4)), (u32::MAX >> 1, 0));
    let ping = peer.next(&[kind::PING]).await;
    // This one was on its way, and the answers of others mean nothing.
    peer.send([headers(END, 3, POST), frame(kind::PING, flag::ACK, 0, [1; 8])].concat())
        .await;
    assert_eq!(peer.next(&[kind::HEADERS]).await.stream, 3);
    peer.send(frame(kind::PING, flag::ACK, 0, &ping.payload)).await;
    let last = peer.next(&[kind::GOAWAY]).await;
    assert_eq!((last.number(0), last.number(4)), (3, 0));
    // This one comes too late, in whatever form.
    peer.send([headers(0, 5, POST), data(0, 5, b"x"), headers(END, 5, FIELD)].concat())
        .await;
    let seen = peer.sync().await;
    assert!(seen.iter().all(|frame| frame.stream != 5), "{seen:?}");
    peer.send(data(END, 1, b"the end")).await;
    let rest = peer.rest().await;
    assert!(rest.iter().any(|frame| frame.payload == b"the end"), "{rest:?}");
    let farewells: Vec<_> = rest.iter().filter(|frame| frame.kind == kind::GOAWAY).collect();
    assert!(
        farewells.iter().all(|frame| frame.number(0) == 3),
        "it must not grow: {farewells:?}"
    );
    soon(task).await.unwrap().unwrap();
    assert_eq!(shared.lock().left(), NOTHING);
}

#[tokio::test]
async fn a_client_that_says_farewell_is_served_until_it_has_no_calls() {
    let mut served = served(echo).await;
    served.peer.send(headers(0, 1, POST)).await;
    served.peer.send(go_away(0, Reason::NO_ERROR)).await;
    served.peer.send(headers(END, 3, POST)).await;
    assert_eq!(served.peer.next(&[kind::HEADERS]).await.stream, 3);
    served.peer.send(data(END, 1, b"last")).await;
    let rest = served.peer.rest().await;
    assert!(rest.iter().any(|frame| frame.payload == b"last"), "{rest:?}");
    soon(served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_that_a_server_did_not_take_say_so() {
    let mut connected = connected().await;
    let calls: Vec<_> = (0..3).map(|_| connected.call(post(empty()))).collect();
    for _ in 0..3 {
        connected.peer.next(&[kind::HEADERS]).await;
    }
    connected
        .peer
        .send(go_away(u32::MAX >> 1, Reason::NO_ERROR))
        .await;
    connected.peer.send(go_away(1, Reason::NO_ERROR)).await;
    // A number that grows is not believed to bring anything back.
    connected.peer.send(go_away(5, Reason::NO_ERROR)).await;
    connected.peer.sync().await;
    assert!(connected.sender.is_closed());
    let late = connected.call(post(empty()));
    assert!(soon(late).await.unwrap().unwrap_err().is_unseen());
    connected.peer.send(headers(END, 1, HEAD_OK)).await;
    let (mut good, mut unseen) = (0, 0);
    for call in calls {
        match soon(call).await.unwrap() {
            Ok(_) => good += 1,
            Err(error) => unseen += usize::from(error.is_unseen()),
        }
    }
    assert_eq!((good, unseen), (1, 2));
    connected.peer.rest().await;
    soon(connected.task).await.unwrap().unwrap();
    assert_eq!(connected.shared.lock().left(), NOTHING);
}

#[tokio::test]
async fn a_client_ends_with_its_last_sender_and_call() {
    let mut connected = connected().await;
    let call = connected.call(post(empty()));
    connected.peer.next(&[kind::HEADERS]).await;
    let other = connected.sender.clone();
    drop(connected.sender);
    drop(other);
    connected.peer.send(headers(0, 1, HEAD_OK)).await;
    let answer = soon(call).await.unwrap().unwrap();
    connected.peer.send(data(END, 1, b"end")).await;
    assert_eq!(read(answer.into_body()).await.unwrap().0, "end");
    let rest = connected.peer.rest().await;
    assert!(rest.iter().any(|frame| frame.kind == kind::GOAWAY), "{rest:?}");
    soon(connected.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_end_with_their_connection() {
    for is_aborted in [false, true] {
        let mut connected = connected_with(
            Config::default(),
            &[(crate::frame::setting::MAX_CONCURRENT_STREAMS, 2)],
            1 << 20,
        )
        .await;
        let calls: Vec<_> = (0..4).map(|_| connected.call(post(pieces().1))).collect();
        connected.peer.next(&[kind::HEADERS]).await;
        connected.peer.next(&[kind::HEADERS]).await;
        if is_aborted {
            connected.task.abort();
        } else {
            drop(connected.peer);
        }
        for call in calls {
            let error = soon(call).await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Closed), "{error:?}");
        }
        assert!(connected.sender.is_closed());
    }
}

#[tokio::test]
async fn a_peer_that_takes_no_farewell_is_not_waited_for() {
    let config = Config {
        keep_alive: Some(crate::KeepAlive {
            interval: std::time::Duration::from_secs(3600),
            patience: std::time::Duration::from_millis(20),
            while_idle: false,
        }),
        ..Config::default()
    };
    let (_io, other) = tokio::io::duplex(10);
    let (sender, connection) = client::connect(other, config);
    let task = tokio::spawn(connection);
    drop(sender);
    let error = soon(task).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::KeepAlive), "{error:?}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_one_that_answers_is_not() {
    let short = std::time::Duration::from_millis(20);
    let config = Config {
        keep_alive: Some(crate::KeepAlive {
            interval: short,
            patience: 10 * short,
            while_idle: true,
        }),
        ..Config::default()
    };
    let mut connected = connected_with(config, &[], 1 << 20).await;
    for _ in 0..3 {
        let ping = connected.peer.next(&[kind::PING]).await;
        connected
            .peer
            .send(frame(kind::PING, flag::ACK, 0, ping.payload))
            .await;
    }
    let call = connected.call(post(empty()));
    let error = soon(call).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::KeepAlive), "{error:?}");
    assert!(matches!(
        soon(connected.task).await.unwrap(),
        Err(Error::KeepAlive)
    ));
}

#[test]
fn errors_tell_who_and_why() {
    let error = |by| Error::GoAway {
        reason: Reason::CANCEL,
        by,
    };
    assert!(error(Side::Peer).is_unseen() && !error(Side::Us).is_unseen());
}
