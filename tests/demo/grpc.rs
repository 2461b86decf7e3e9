//! The part of the demo in which gRPC is spoken: a third app, and the calls to and from it.

use std::time::Instant;

use integration_tests::grpc::{
    GrpcApp, GrpcCall, GrpcClient, INVOKE_SERVICE, InvokeRequest, InvokeResponse, InvokeServiceRequest,
    ON_INVOKE,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::apps::{Event, Teller, What};
use crate::call::Call;
use crate::stage::{FIRST, SECOND, Stage, THIRD};
use crate::style::Style;
use crate::tour::{Findings, Hop, Path, greets, knows_caller, print, show, told};

/// A method of the third app's own service.
const COUNT: &str = "/demo.Counter/Count";
const PIECES: usize = 3;

/// Starts a gRPC app that can be invoked, and that has a service of its own.
pub(crate) async fn start(app: &'static str, events: UnboundedSender<Event>) -> GrpcApp {
    let teller = Teller { app, events };
    GrpcApp::start(move |call| answer(call, teller.clone())).await
}

async fn answer(mut call: GrpcCall, teller: Teller) {
    let headers = call.head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    teller.tell(What::Request {
        line: call.path().to_owned(),
        headers: headers.collect(),
    });
    if call.path() == ON_INVOKE {
        let asked = call.message().await.map(|message| message.data);
        let asked: InvokeRequest = prost::Message::decode(asked.unwrap_or_default()).unwrap_or_default();
        let text = format!("hello {}, this is {}", asked.method, teller.app);
        call.send(&prost::Message::encode_to_vec(&InvokeResponse::text(text)))
            .await;
    } else {
        call.begin(&[]);
        let mut number = 0;
        while let Some(message) = call.message().await {
            number += 1;
            teller.tell(What::Piece { number });
            let text = String::from_utf8_lossy(&message.data).into_owned();
            call.send(format!("{text}, and back").as_bytes()).await;
        }
    }
    call.finish(0, "", &[]);
    teller.tell(What::Answer { status: 0 });
}

/// The calls; what was not as expected is added to the findings.
pub(crate) async fn go(stage: &mut Stage, style: Style, findings: &mut Findings) -> Result<(), String> {
    let to_third = Path::new(FIRST, THIRD);
    let call = Call::get(stage.sidecars[0].invoke_url(THIRD, "world"));
    let title = "HTTP to a gRPC app: the same call, which reaches the app as AppCallback/OnInvoke";
    let outcome = show(stage, style, title, call, to_third).await?;
    greets(findings, &outcome, to_third);

    let client = GrpcClient::connect(stage.sidecars[0].grpc_port).await;
    for (app, method, title) in [
        (SECOND, "hello", "gRPC to an HTTP app: InvokeService"),
        (THIRD, "world", "gRPC to a gRPC app: InvokeService"),
    ] {
        invoke(stage, style, findings, &client, (app, method, title)).await;
    }
    stream(stage, style, findings, &client).await;
    Ok(())
}

async fn invoke(
    stage: &mut Stage,
    style: Style,
    findings: &mut Findings,
    client: &GrpcClient,
    (app, method, title): (&'static str, &str, &str),
) {
    let path = Path::new(FIRST, app);
    let command = format!(
        "grpcurl -plaintext -d '{{\"id\":\"{app}\",\"message\":{{\"method\":\"{method}\",\
         \"httpExtension\":{{\"verb\":\"POST\"}}}}}}' 127.0.0.1:{} {}",
        stage.sidecars[0].grpc_port,
        INVOKE_SERVICE.trim_start_matches('/'),
    );
    println!("\n{}\n  {}", style.title(title), style.command(&command));
    stage.commands.push(command);
    let begun = Instant::now();
    let request = InvokeServiceRequest::post(app, method, "");
    let (answer, response) = client.invoke(&request, &[]).await;
    let ended = Instant::now();
    let events = told(stage);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    let mut hops = vec![Hop::new(begun, "client", path.near, INVOKE_SERVICE)];
    hops.extend(Hop::of_events(&events, path));
    let status = format!("status {}: {text}", answer.code());
    hops.push(Hop::new(ended, path.near, "client", status));
    print(begun, hops, style);
    let greeting = format!("this is {app}");
    findings.expect(
        answer.code() == 0 && text.ends_with(&greeting),
        &format!("{app} greets a gRPC caller"),
    );
    knows_caller(findings, &events, path);
}

/// A stream in both directions that no sidecar reads.
async fn stream(stage: &mut Stage, style: Style, findings: &mut Findings, client: &GrpcClient) {
    let path = Path::new(FIRST, THIRD);
    println!(
        "\n{}",
        style.title("A service of the app's own, proxied: a stream in both directions")
    );
    let begun = Instant::now();
    let mut hops = vec![Hop::new(begun, "client", path.near, COUNT)];
    let mut stream = client.open(COUNT, &[("dapr-app-id", THIRD)]).await;
    for number in 1..=PIECES {
        let text = format!("message {number}");
        hops.push(Hop::new(Instant::now(), "client", path.near, &text));
        stream.send(text.as_bytes()).await;
        let came = stream.message().await.map(|message| message.data);
        let came = String::from_utf8_lossy(&came.unwrap_or_default()).into_owned();
        findings.expect(
            came == format!("{text}, and back"),
            "each message is answered before the next one is sent",
        );
        hops.push(Hop::new(Instant::now(), path.near, "client", came));
    }
    stream.finish();
    let answer = stream.answer().await;
    let status = format!("status {}", answer.code());
    hops.push(Hop::new(Instant::now(), path.near, "client", status));
    let events = told(stage);
    hops.splice(1..1, Hop::of_events(&events, path));
    print(begun, hops, style);
    findings.expect(answer.code() == 0, "the stream ends with the status OK");
    knows_caller(findings, &events, path);
}
