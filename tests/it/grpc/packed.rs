//! Packed messages, and apps that cannot unpack them.

use integration_tests::grpc::{Answer, GrpcApp, GrpcCall, GrpcClient, framed};

use super::{METHOD, Pair, TO_APP};

const PLAIN: &[u8] = b"hello hello hello hello";
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01\
    \xe3\x51\x3d\x8d\x17\x00\x00\x00";
const DEFLATE: &[u8] = b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01\x68\x03\x08\xb1";

/// An app as gRPC for Go makes one where no decompressor is installed: it refuses what is packed, and does not list what
/// it takes. It gives messages back.
async fn unable(mut call: GrpcCall) {
    let encoding = call.header("grpc-encoding").to_owned();
    if !encoding.is_empty() {
        let text = format!("grpc: Decompressor is not installed for grpc-encoding \"{encoding}\"");
        return call.refuse(12, &text, &[]);
    }
    while let Some(message) = call.message().await {
        if message.flag != 0 {
            return call.refuse(
                13,
                "grpc: compressed flag set with identity or empty encoding",
                &[],
            );
        }
        call.send(&message.data).await;
    }
    call.finish(0, "", &[]);
}

/// An app whose library can unpack and says so. It gives messages back as they came.
async fn able(mut call: GrpcCall) {
    let encoding = call.header("grpc-encoding").to_owned();
    let mut head = vec![("grpc-accept-encoding", "identity,deflate,gzip")];
    if !encoding.is_empty() {
        head.push(("grpc-encoding", &encoding));
    }
    call.begin(&head);
    while let Some(message) = call.message().await {
        call.send_bytes(framed(message.flag, &message.data)).await;
    }
    call.finish(0, "", &[]);
}

async fn packed(client: &GrpcClient, encoding: &str, messages: &[(u8, &[u8])]) -> Answer {
    let accepted = format!("identity,{encoding}");
    let metadata = [
        TO_APP,
        ("grpc-encoding", encoding),
        ("grpc-accept-encoding", &accepted),
    ];
    let mut stream = client.open(METHOD, &metadata).await;
    for (flag, data) in messages {
        stream.send_bytes(framed(*flag, data)).await;
    }
    stream.finish();
    stream.answer().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_cannot_unpack_gets_plain_messages() {
    let app = GrpcApp::start(unable).await;
    let pair = Pair::of(&app).await;
    // From another sidecar, and from the app's own.
    for client in [
        pair.client().await,
        GrpcClient::connect(pair.callee.grpc_port).await,
    ] {
        for (encoding, data) in [("gzip", GZIP), ("deflate", DEFLATE)] {
            for _ in 0..2 {
                let answer = packed(&client, encoding, &[(1, data), (0, b"as it is"), (1, data)]).await;
                assert_eq!(answer.code(), 0, "{answer:?}");
                let got: Vec<_> = answer.messages.iter().map(|message| &message.data[..]).collect();
                assert_eq!(got, [PLAIN, b"as it is", PLAIN]);
                assert!(answer.messages.iter().all(|message| message.flag == 0));
                assert_eq!(answer.header("grpc-encoding"), None);
            }
        }
    }
    let client = pair.client().await;
    let answer = packed(&client, "gzip", &[(1, b"junk")]).await;
    assert_eq!(answer.code(), 13, "{answer:?}");
    let answer = packed(&client, "zstd", &[(1, b"zzz")]).await;
    assert_eq!(answer.code(), 12, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_can_gets_them_packed() {
    let app = GrpcApp::start(able).await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    // The first answer tells what the app can do.
    let first = packed(&client, "gzip", &[(1, GZIP)]).await;
    assert_eq!((first.messages[0].flag, &first.messages[0].data[..]), (0, PLAIN));
    let answer = packed(&client, "gzip", &[(1, GZIP)]).await;
    assert_eq!(answer.code(), 0);
    assert_eq!((answer.messages[0].flag, &answer.messages[0].data[..]), (1, GZIP));
    assert_eq!(answer.header("grpc-encoding"), Some("gzip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_cannot_unpack_gets_plain_answers() {
    let app = GrpcApp::start(|mut call| async move {
        call.messages().await;
        call.begin(&[("grpc-encoding", "gzip")]);
        for _ in 0..3 {
            call.send_bytes(framed(1, GZIP)).await;
        }
        call.finish(0, "", &[]);
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    for (accepts, flag, data) in [
        (None, 0, PLAIN),
        (Some("identity"), 0, PLAIN),
        (Some("identity,gzip"), 1, GZIP),
    ] {
        let mut metadata = vec![TO_APP];
        metadata.extend(accepts.map(|accepts| ("grpc-accept-encoding", accepts)));
        let answer = client.call(METHOD, &metadata, &[b"m"]).await;
        assert_eq!((answer.code(), answer.messages.len()), (0, 3));
        for message in &answer.messages {
            assert_eq!((message.flag, &message.data[..]), (flag, data), "{accepts:?}");
        }
    }
}
