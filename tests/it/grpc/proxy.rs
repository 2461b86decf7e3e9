//! Services of the app's own: what passes, and when.

use bytes::Bytes;
use integration_tests::grpc::{End, GrpcApp, GrpcCall, framed};

use super::{APP, METHOD, Pair, TO_APP};

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_stream_go_on_at_their_own_pace() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let mut stream = client.open(METHOD, &[TO_APP]).await;
    // The head comes before any message was sent.
    let head = stream.head().await.expect("a head");
    assert_eq!(head.headers["content-type"], "application/grpc");
    for text in ["one", "two", "three"] {
        stream.send(text.as_bytes()).await;
        assert_eq!(stream.message().await.expect("an answer").data, text);
    }
    stream.finish();
    let answer = stream.answer().await;
    assert_eq!((answer.code(), answer.messages.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_side() {
    let app = GrpcApp::start(|mut call| async move {
        let (messages, end) = call.messages().await;
        assert_eq!(end, End::HalfClosed);
        let count = messages.len();
        if call.path().ends_with("/Collect") {
            call.send(format!("{count} came").as_bytes()).await;
        } else {
            for number in 0..5 {
                call.send(&[number]).await;
            }
        }
        call.finish(0, "", &[("x-count", &count.to_string())]);
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let many: Vec<&[u8]> = vec![b"m"; 7];
    let answer = client.call("/test.Service/Collect", &[TO_APP], &many).await;
    assert_eq!(answer.only(), b"7 came");
    assert_eq!(answer.trailer("x-count"), Some("7"));
    let answer = client.call("/test.Service/Spread", &[TO_APP], &[b"m"]).await;
    assert_eq!((answer.code(), answer.messages.len()), (0, 5));
    // No message at all, in either direction.
    let answer = client.call("/test.Service/Collect", &[TO_APP], &[]).await;
    assert_eq!(answer.only(), b"0 came");
}

/// Tells what it saw in the head of its answer.
async fn mirror(mut call: GrpcCall) {
    let (messages, _) = call.messages().await;
    let head = call.head.clone();
    let mut response = http::Response::new(());
    *response.headers_mut() = head.headers;
    response.headers_mut().remove("te");
    call.begin_with(response);
    for message in messages {
        call.send_bytes(framed(message.flag, &message.data)).await;
    }
    call.finish(0, "", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_message_is_read() {
    let app = GrpcApp::start(mirror).await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let metadata = [
        TO_APP,
        ("content-type", "application/grpc+flatbuffers"),
        ("grpc-encoding", "of-my-own"),
        ("grpc-accept-encoding", "of-my-own,identity"),
        ("user-agent", "me/1"),
        ("x-b-bin", "AQID"),
        ("x-two", "1"),
        ("x-two", "2"),
        ("dapr-caller-app-id", "somebody-else"),
        ("dapr-callee-app-id", "somebody-else"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let mut stream = client.open(METHOD, &metadata).await;
    assert!(stream.send_bytes(framed(1, b"\xff\x00packed")).await);
    stream.finish();
    let answer = stream.answer().await;
    assert_eq!(answer.code(), 0);
    assert_eq!(
        (answer.messages[0].flag, &answer.messages[0].data[..]),
        (1, &b"\xff\x00packed"[..])
    );
    for (name, wanted) in [
        ("content-type", "application/grpc+flatbuffers"),
        ("grpc-encoding", "of-my-own"),
        ("grpc-accept-encoding", "of-my-own,identity"),
        ("user-agent", "me/1"),
        ("x-b-bin", "AQID"),
        ("dapr-caller-app-id", "app-1"),
        ("dapr-callee-app-id", APP),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ] {
        let values: Vec<_> = answer.head.get_all(name).iter().collect();
        assert_eq!(values, [wanted], "{name}");
    }
    assert_eq!(answer.head.get_all("x-two").iter().count(), 2);
    assert_eq!(answer.header("dapr-app-id"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_may_be_cut_anywhere() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let mut stream = client.open(METHOD, &[TO_APP]).await;
    let bytes = [framed(0, b"first"), framed(0, b""), framed(0, &vec![7; 40_000])].concat();
    for piece in bytes.chunks(1999) {
        let is_first = piece.as_ptr() == bytes.as_ptr();
        let cut = if is_first { 3 } else { 0 };
        assert!(stream.send_bytes(Bytes::copy_from_slice(&piece[..cut])).await);
        assert!(stream.send_bytes(Bytes::copy_from_slice(&piece[cut..])).await);
    }
    stream.finish();
    let answer = stream.answer().await;
    let lengths: Vec<_> = answer.messages.iter().map(|message| message.data.len()).collect();
    assert_eq!((answer.code(), lengths), (0, vec![5, 0, 40_000]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_not_touched() {
    let app = GrpcApp::start(|mut call| async move {
        let (messages, _) = call.messages().await;
        let code: i32 = String::from_utf8_lossy(&messages[0].data)
            .parse()
            .expect("a code");
        // Details that are no status, and a message that is not ASCII.
        let more = [("grpc-status-details-bin", "AAEC/w"), ("x-tail-bin", "/w")];
        if call.path().ends_with("/Only") {
            call.refuse(code, "%E2%80%93 odd", &more);
        } else {
            call.send(b"before").await;
            call.finish(code, "%E2%80%93 odd", &more);
        }
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    for method in ["/test.Service/Only", "/test.Service/Late"] {
        for code in [
            "1",
            "5",
            "14",
            "16",
            "17",
            "20",
            "99",
            "100",
            "404",
            "2147483647",
            "-1",
        ] {
            let answer = client.call(method, &[TO_APP], &[code.as_bytes()]).await;
            assert_eq!(answer.code().to_string(), code);
            assert_eq!(
                (answer.status_message().as_str(), answer.details()),
                ("– odd", Some("AAEC/w"))
            );
            let is_only = method.ends_with("/Only");
            assert_eq!(answer.trailers.is_none(), is_only, "{method}");
            assert_eq!(answer.messages.len(), usize::from(!is_only));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_must_be_in_its_normal_form() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    for (path, code) in [
        ("/a.B/C", 0),
        ("/a/b/c", 0),
        ("/a.B/%2e%2e/C", 0),
        ("/a.B/../C", 3),
        ("/a//b", 3),
        ("/a/b/", 3),
        ("/only", 12),
    ] {
        assert_eq!(client.proxy(APP, path, b"x").await.code(), code, "{path}");
    }
}
