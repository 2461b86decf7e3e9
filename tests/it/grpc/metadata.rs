//! Headers that mean something to a connection, to a trace, or twice; statuses that mean nothing to HTTP.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use integration_tests::grpc::{
    GrpcApp, GrpcClient, INVOKE_SERVICE, InvokeRequest, InvokeResponse, InvokeServiceRequest, ON_INVOKE,
    framed,
};
use integration_tests::{RawClient, eventually};
use prost::Message;

use super::{APP, METHOD, Pair, TO_APP};
use crate::stage::chunk;

/// What an app saw last.
#[derive(Clone, Default)]
struct ReceivedMetadata(Arc<Mutex<Option<HeaderMap>>>);

impl ReceivedMetadata {
    fn take(&self) -> Option<HeaderMap> {
        self.0.lock().unwrap().take()
    }

    fn is_some(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    fn values(&self, names: &[&str]) -> Vec<Vec<String>> {
        let seen = self.take().expect("a call");
        let values = |name: &&str| {
            let values = seen.get_all(*name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        names.iter().map(values).collect()
    }
}

/// An app that keeps what it sees. A method that is a number is the status with which it fails.
async fn app() -> (GrpcApp, ReceivedMetadata) {
    let seen = ReceivedMetadata::default();
    let kept = seen.clone();
    let app = GrpcApp::start(move |mut call| {
        let kept = kept.clone();
        async move {
            *kept.0.lock().unwrap() = Some(call.head.headers.clone());
            let message = call
                .message()
                .await
                .map(|message| message.data)
                .unwrap_or_default();
            if call.path() != ON_INVOKE {
                call.send(&message).await;
                return call.finish(0, "", &[]);
            }
            let asked = InvokeRequest::decode(message).unwrap();
            if let Ok(code) = asked.method.parse() {
                return call.refuse(code, "odd", &[]);
            }
            call.begin(&[("tracestate", "of=app")]);
            call.send(&InvokeResponse::text("fine").encode_to_vec()).await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    (app, seen)
}

/// A frame of HTTP/2 on the first stream.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, u8::from(kind != 4)]);
    frame.extend(payload);
    frame
}

/// A whole connection with one call, as no library lets one make it.
fn connection(path: &str, fields: &[(&str, &str)], message: &[u8]) -> Vec<u8> {
    // POST, http, and the rest as literals (RFC 7541, section 6.2.2).
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    let usual = [("content-type", "application/grpc"), ("te", "trailers")];
    for (name, value) in usual.iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [
        preface,
        frame(4, 0, &[]),
        frame(1, 4, &block),
        frame(0, 1, &framed(0, message)),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_speaks_of_a_connection_fails_no_call() {
    let (app, seen) = app().await;
    let pair = Pair::of(&app).await;
    let invoked = InvokeServiceRequest::post(APP, "m", "").encode_to_vec();
    for name in ["keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        for (path, message) in [(METHOD, &b"m"[..]), (INVOKE_SERVICE, &invoked)] {
            let mut client = RawClient::connect(pair.caller.grpc_port).await;
            client
                .send(connection(path, &[TO_APP, (name, "x")], message))
                .await;
            eventually(&format!("a call with {name}"), || async { seen.is_some() }).await;
            let prefixed = format!("dapr-{name}");
            assert_eq!(seen.values(&[name, &prefixed]), [[""; 0]; 2], "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_call_has_one_trace_and_one_user_agent() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const ZEROS: &str = "00-00000000000000000000000000000000-0000000000000000-00";
    let (app, seen) = app().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let names = ["traceparent", "tracestate", "user-agent"];
    for (metadata, wanted) in [
        (&[][..], [vec![ZEROS], vec![], vec![]]),
        (&[("tracestate", "a=b")], [vec![ZEROS], vec![], vec![]]),
        (
            &[("traceparent", "junk"), ("tracestate", "a=b")],
            [vec![ZEROS], vec![], vec![]],
        ),
        (
            &[
                ("traceparent", PARENT),
                ("traceparent", OTHER),
                ("tracestate", "a=b"),
            ],
            [vec![PARENT], vec!["a=b"], vec![]],
        ),
        (
            &[("user-agent", "me/1"), ("user-agent", "you/2")],
            [vec![ZEROS], vec![], vec!["me/1"]],
        ),
        (&[("user-agent", "")], [vec![ZEROS], vec![], vec![]]),
    ] {
        let mut all = vec![TO_APP];
        all.extend(metadata);
        assert_eq!(client.call(METHOD, &all, &[b"m"]).await.only(), b"m");
        assert_eq!(seen.values(&names), wanted, "{metadata:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_without_its_trace_is_not_answered() {
    let (app, _) = app().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let request = InvokeServiceRequest::post(APP, "m", "");
    let (answer, _) = client.invoke(&request, &[]).await;
    assert!(answer.header("traceparent").is_some());
    assert_eq!(answer.header("tracestate"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_not_told_how_its_caller_framed_the_body() {
    let (app, seen) = app().await;
    let pair = Pair::of(&app).await;
    // By way of another sidecar, and to the own app.
    for port in [pair.caller.http_port, pair.callee.http_port] {
        let mut client = RawClient::connect(port).await;
        let head = format!(
            "POST /v1.0/invoke/{APP}/method/m HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
             grpc-accept-encoding: zstd\r\n\r\n"
        );
        client.send(head).await;
        client.send(chunk(b"hello")).await;
        client.send(chunk(b"")).await;
        let answer = client.receive().await.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "fine".to_owned()));
        let names = [
            "dapr-transfer-encoding",
            "transfer-encoding",
            "grpc-accept-encoding",
        ];
        assert_eq!(seen.values(&names), [[""; 0]; 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_no_answer_can_end_with_is_shown() {
    let (app, _) = app().await;
    let pair = Pair::of(&app).await;
    for code in ["100", "102", "103", "199", "1000", "2147483647", "20", "-1"] {
        let answer = reqwest::get(pair.caller.invoke_url(APP, code)).await.unwrap();
        assert_eq!(answer.status(), 500, "{code}");
        let shown = format!("{{\"code\":{code},\"message\":\"odd\"}}");
        assert_eq!(answer.text().await.unwrap(), shown);
    }
    // These are taken for statuses of HTTP, as Dapr takes them.
    for code in ["404", "599"] {
        let answer = reqwest::get(pair.caller.invoke_url(APP, code)).await.unwrap();
        assert_eq!(answer.status().as_str(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_with_words() {
    let (app, seen) = app().await;
    let pair = Pair::of(&app).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    let head =
        format!("CONNECT /v1.0/invoke/{APP}/method/m HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi");
    client.send(head).await;
    let answer = client.receive().await.unwrap();
    assert_eq!(answer.status(), 500);
    assert!(answer.text().contains("invalid HTTP verb"), "{}", answer.text());
    assert!(seen.take().is_none(), "the app was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_without_a_message_reaches_no_app() {
    let (app, seen) = app().await;
    let pair = Pair::of(&app).await;
    for client in [
        pair.client().await,
        GrpcClient::connect(pair.callee.grpc_port).await,
    ] {
        let request = InvokeServiceRequest {
            id: APP.to_owned(),
            message: None,
        };
        let answer = client
            .call(INVOKE_SERVICE, &[], &[&request.encode_to_vec()])
            .await;
        assert_eq!(answer.code(), 13);
        let text = format!(
            "failed to invoke, id: {APP}, err: rpc error: code = InvalidArgument desc = parsing InternalInvokeRequest \
             error: request does not contain the required fields in the leading chunk"
        );
        assert_eq!(answer.status_message(), text);
        assert!(seen.take().is_none(), "the app was called");
    }
}
