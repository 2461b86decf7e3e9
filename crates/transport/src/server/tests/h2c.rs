//! HTTP/2 by prior knowledge on the port of HTTP/1.

use lifecycle::Tasks;

use super::*;
use crate::client::{CountedBody, H2Pool, H2PoolConfig, PeerKey};
use crate::testing::{
    DATA, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, next_frame, read_answer, read_rest,
    write,
};

const CANCEL: u32 = 8;

/// A client with a pool of its own.
#[derive(Clone)]
struct Client {
    pool: Arc<H2Pool>,
    key: PeerKey,
}

impl Client {
    fn new(server: &Server) -> Self {
        Self {
            pool: Arc::new(H2Pool::new(H2PoolConfig::default(), Tasks::new())),
            key: PeerKey::new(server.address.as_str()),
        }
    }

    async fn post(&self, path: &str, body: &'static [u8]) -> Response<CountedBody> {
        let body = Full::from(body).map_err(BoxError::from).boxed_unsync();
        let request = Request::post(format!("http://x{path}")).body(body).unwrap();
        soon(self.pool.send(&self.key, request)).await.unwrap()
    }
}

async fn text(answer: Response<CountedBody>) -> String {
    let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Both kinds of server speak HTTP/2 in the same way.
async fn servers() -> [Server; 2] {
    [
        Server::http(config()).await,
        Server::grpc(GrpcServerConfig::default()).await,
    ]
}

#[tokio::test]
async fn both_versions_share_a_port() {
    let server = Server::http(config()).await;
    let client = Client::new(&server);
    assert_eq!(text(client.post("/echo", b"two").await).await, "two");
    let mut one = server.connect().await;
    write(
        &mut one,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none",
    )
    .await;
    assert_eq!(read_answer(&mut one).await.1, "one");
}

#[tokio::test]
async fn many_calls_at_once() {
    for server in servers().await {
        let client = Client::new(&server);
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { text(client.post("/echo", &[b'x'; 5000]).await).await })
            })
            .collect();
        for call in calls {
            assert_eq!(soon(call).await.unwrap().len(), 5000);
        }
        drop(client);
        assert_eq!(server.stop().await.len(), 500);
    }
}

#[tokio::test]
async fn a_preface_in_pieces_is_one() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    for byte in PREFACE {
        write(&mut client, [*byte]).await;
        tokio::task::yield_now().await;
    }
    write(&mut client, frame(SETTINGS, 0, 0, &[])).await;
    write(&mut client, frame(HEADERS, 5, 1, GET)).await;
    assert_eq!(next_frame(&mut client, &[HEADERS]).await.unwrap().stream, 1);
}

#[tokio::test]
async fn a_reset_drops_the_handler() {
    for mut server in servers().await {
        let mut client = server.connect_h2().await;
        write(&mut client, frame(HEADERS, 5, 1, GET_WAIT)).await;
        assert_eq!(server.sees().await, "/wait");
        write(&mut client, frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await;
        assert_eq!(server.sees().await, "dropped");
        // The connection goes on.
        write(&mut client, frame(HEADERS, 5, 3, GET)).await;
        assert_eq!(next_frame(&mut client, &[HEADERS]).await.unwrap().stream, 3);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_drops_the_handlers() {
    for mut server in servers().await {
        let mut client = server.connect_h2().await;
        for stream in [1, 3] {
            write(&mut client, frame(HEADERS, 5, stream, GET_WAIT)).await;
            assert_eq!(server.sees().await, "/wait");
        }
        drop(client);
        assert_eq!(server.sees().await, "dropped");
        assert_eq!(server.sees().await, "dropped");
        server.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_resets_its_stream() {
    for mut server in servers().await {
        let mut client = server.connect_h2().await;
        write(&mut client, frame(HEADERS, 5, 1, b"\x82\x86\x04\x06/break")).await;
        assert_eq!(server.sees().await, "/break");
        assert_eq!(next_frame(&mut client, &[DATA]).await.unwrap().payload, b"half");
        server.release.add_permits(1);
        let end = next_frame(&mut client, &[DATA, RST_STREAM, GOAWAY])
            .await
            .unwrap();
        assert_eq!((end.kind, end.stream), (RST_STREAM, 1));
    }
}

#[tokio::test]
async fn an_unread_request_stops_at_its_window_and_stops_nobody_else() {
    for (mut server, window) in servers().await.into_iter().zip([64 * 1024, 256 * 1024]) {
        let mut client = server.connect_h2().await;
        // Its handler waits, and reads nothing.
        write(&mut client, frame(HEADERS, 4, 1, b"\x83\x86\x04\x05/wait")).await;
        assert_eq!(server.sees().await, "/wait");
        for _ in 0..window / 16384 {
            write(&mut client, frame(DATA, 0, 1, &[7; 16384])).await;
        }
        write(&mut client, frame(HEADERS, 5, 3, GET)).await;
        let answer = loop {
            let frame = next_frame(&mut client, &[HEADERS, WINDOW_UPDATE]).await.unwrap();
            assert!(frame.kind == HEADERS || frame.stream == 0, "{frame:?}");
            if frame.kind == HEADERS {
                break frame;
            }
        };
        assert_eq!(answer.stream, 3);
        // One byte too many.
        write(&mut client, frame(DATA, 0, 1, b"x")).await;
        assert!(next_frame(&mut client, &[RST_STREAM, GOAWAY]).await.is_some());
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let mut server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    for number in 0..251_u32 {
        write(&mut client, frame(HEADERS, 5, number * 2 + 1, GET_WAIT)).await;
    }
    let refused = next_frame(&mut client, &[RST_STREAM]).await.unwrap();
    assert_eq!((refused.stream, refused.number(0)), (501, 7));
    for _ in 0..250 {
        assert_eq!(server.sees().await, "/wait");
    }
    drop(client);
    assert!(server.stop().await.iter().all(|seen| seen == "dropped"));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_alone() {
    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    let mut head = GET.to_vec();
    for _ in 0..150 {
        // A literal field without indexing: `x`, and a value of a hundred bytes.
        head.extend([0, 1, b'x', 100]);
        head.extend([b'y'; 100]);
    }
    write(&mut client, frame(HEADERS, 5, 1, &head)).await;
    let answer = next_frame(&mut client, &[HEADERS, RST_STREAM]).await.unwrap();
    assert_eq!(answer.stream, 1);
    write(&mut client, frame(HEADERS, 5, 3, GET)).await;
    loop {
        let answer = next_frame(&mut client, &[HEADERS]).await.unwrap();
        if answer.stream == 3 {
            break;
        }
    }
    drop(client);
    assert_eq!(server.stop().await, ["/"]);
}

#[tokio::test]
async fn without_http2_its_preface_is_no_request() {
    let server = Server::http(http1_only()).await;
    let mut client = server.connect().await;
    write(&mut client, PREFACE).await;
    read_rest(&mut client).await;
    assert!(server.stop().await.is_empty());
}
