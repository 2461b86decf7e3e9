//! Callers that go away, apps that do, and time that runs out.

use h2::Reason;
use integration_tests::PATIENCE;
use integration_tests::grpc::{End, GrpcApp, INVOKE_SERVICE, InvokeServiceRequest};
use tokio::sync::mpsc;

use super::{METHOD, Pair, TO_APP};

const CANCEL: End = End::Reset(8);

/// What an app tells of the calls that it holds for ever.
struct Holding {
    app: GrpcApp,
    began: mpsc::UnboundedReceiver<String>,
    ended: mpsc::UnboundedReceiver<End>,
}

impl Holding {
    async fn start() -> Self {
        let (tell_began, began) = mpsc::unbounded_channel();
        let (tell_ended, ended) = mpsc::unbounded_channel();
        let app = GrpcApp::start(move |mut call| {
            let (began, ended) = (tell_began.clone(), tell_ended.clone());
            async move {
                let timeout = call.header("grpc-timeout").to_owned();
                call.message().await;
                let _ = began.send(timeout);
                let _ = ended.send(call.cancelled().await);
            }
        })
        .await;
        Self { app, began, ended }
    }

    async fn next(&mut self) -> String {
        let began = tokio::time::timeout(PATIENCE, self.began.recv()).await;
        began.expect("a call in time").expect("a call")
    }

    async fn end(&mut self) -> End {
        let ended = tokio::time::timeout(PATIENCE, self.ended.recv()).await;
        ended.expect("an end in time").expect("an end")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_takes_its_call_along() {
    let mut held = Holding::start().await;
    let pair = Pair::of(&held.app).await;
    let client = pair.client().await;
    let message = prost::Message::encode_to_vec(&InvokeServiceRequest::post("app-2", "m", "x"));
    for (path, message) in [(METHOD, &b"x"[..]), (INVOKE_SERVICE, &message)] {
        let mut stream = client.open(path, &[TO_APP]).await;
        stream.send(message).await;
        stream.finish();
        held.next().await;
        stream.reset(Reason::CANCEL);
        assert_eq!(held.end().await, CANCEL, "{path}");
    }
    // The whole connection, with a call that is still sending.
    let mut stream = client.open(METHOD, &[TO_APP]).await;
    stream.send(b"x").await;
    held.next().await;
    drop(client);
    drop(stream);
    assert_eq!(held.end().await, CANCEL);
    // An HTTP caller of a gRPC app.
    let url = pair.caller.invoke_url("app-2", "m");
    let calling = tokio::spawn(reqwest::Client::new().post(url).body("x").send());
    held.next().await;
    calling.abort();
    assert_eq!(held.end().await, CANCEL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_call_on_both_sides() {
    let mut held = Holding::start().await;
    let pair = Pair::of(&held.app).await;
    let client = pair.client().await;
    let message = prost::Message::encode_to_vec(&InvokeServiceRequest::post("app-2", "m", "x"));
    // Whichever side notices first.
    let both = [(METHOD, &b"x"[..]), (INVOKE_SERVICE, &message)];
    for (path, message) in both.into_iter().cycle().take(8) {
        let answer = client
            .call(path, &[TO_APP, ("grpc-timeout", "300m")], &[message])
            .await;
        assert_eq!(answer.code(), 4, "{path}: {answer:?}");
        let told = held.next().await;
        assert!(
            told.len() > 1,
            "{path}: the app is told the time that is left: {told:?}"
        );
        assert_eq!(held.end().await, CANCEL, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_breaks_a_call_off_says_why() {
    let app = GrpcApp::start(|mut call| async move {
        let code: u32 = call.header("x-code").parse().expect("a code");
        if call.path().ends_with("/Late") {
            call.send(b"something").await;
        }
        call.message().await;
        call.reset(code);
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    for (path, messages) in [("/test.Service/Early", 0), ("/test.Service/Late", 1)] {
        for (reset, code, name) in [
            ("2", 13, "INTERNAL_ERROR"),
            ("8", 1, "CANCEL"),
            ("11", 8, "ENHANCE_YOUR_CALM"),
            ("12", 7, "INADEQUATE_SECURITY"),
        ] {
            let answer = client.call(path, &[TO_APP, ("x-code", reset)], &[b"x"]).await;
            assert_eq!(answer.code(), code, "{path} {reset}: {answer:?}");
            let wanted = format!("stream terminated by RST_STREAM with error code: {name}");
            assert_eq!(answer.status_message(), wanted, "{path} {reset}");
            assert!(answer.messages.len() <= messages);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_request_ends_the_request() {
    let app = GrpcApp::start(|mut call| async move {
        call.message().await;
        call.finish(9, "enough", &[]);
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let mut stream = client.open(METHOD, &[TO_APP]).await;
    stream.send(b"x").await;
    while stream.message().await.is_some() {}
    let answer = stream.answer().await;
    assert_eq!((answer.code(), answer.status_message().as_str()), (9, "enough"));
    // The connection is as good as before.
    let answer = client.proxy("app-2", METHOD, b"x").await;
    assert_eq!(answer.code(), 9);
}
