//! The calls of the demo, each shown hop by hop and compared with what is expected.

use std::time::Instant;

use crate::apps::{Event, PAUSE, PIECES, What};
use crate::call::{Answer, Call};
use crate::grpc;
use crate::stage::{FIRST, SECOND, Stage};
use crate::style::Style;

/// Headers that a sidecar adds to a request, or that tell where it came from.
const TELLING: &[&str] = &["dapr-", "traceparent", "forwarded", "x-forwarded-", "via"];
/// The longest body that is shown.
const LONGEST: usize = 400;

/// Who takes part in a call, from the caller's side.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub(crate) near: &'static str,
    far: &'static str,
    caller: &'static str,
    app: &'static str,
}

impl Path {
    /// From one app to another.
    pub(crate) fn new(caller: &'static str, app: &'static str) -> Self {
        let sidecar = |app| match app {
            FIRST => "sidecar 1",
            SECOND => "sidecar 2",
            _ => "sidecar 3",
        };
        Self {
            near: sidecar(caller),
            far: sidecar(app),
            caller,
            app,
        }
    }
}

/// What was not as expected.
#[derive(Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.0.push(format!("this does not hold: {what}"));
        }
    }
}

/// One line of what happened.
pub(crate) struct Hop {
    at: Option<Instant>,
    who: String,
    text: String,
}

impl Hop {
    pub(crate) fn new(at: Instant, from: &str, to: &str, text: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            ..Self::untimed(from, to, text)
        }
    }

    /// A hop between two processes that the demo is neither of.
    fn untimed(from: &str, to: &str, text: impl Into<String>) -> Self {
        Self {
            at: None,
            who: format!("{from:<9} → {to}"),
            text: text.into(),
        }
    }

    fn more(text: impl Into<String>) -> Self {
        Self {
            at: None,
            who: String::new(),
            text: text.into(),
        }
    }

    /// What the app told, and how the call came to it.
    pub(crate) fn of_events(events: &[Event], path: Path) -> Vec<Self> {
        let Path { near, far, app, .. } = path;
        let mut hops = Vec::new();
        if !events.is_empty() {
            hops.push(Self::untimed(near, far, "gRPC"));
        }
        for event in events {
            match &event.what {
                What::Request { line, headers } => {
                    hops.push(Self::new(event.at, far, app, line));
                    let telling = headers
                        .iter()
                        .filter(|(name, _)| TELLING.iter().any(|start| name.starts_with(start)));
                    hops.extend(telling.map(|(name, value)| Self::more(format!("  {name}: {value}"))));
                }
                What::Body { length } => {
                    hops.push(Self::new(event.at, far, app, format!("the body, {length} bytes")));
                }
                What::Answer { status } => hops.push(Self::new(event.at, app, far, format!("{status}"))),
                What::Piece { number } => {
                    hops.push(Self::new(event.at, app, far, format!("piece {number}")));
                }
            }
        }
        hops
    }
}

/// What a call brought.
pub(crate) struct Outcome {
    answer: Answer,
    events: Vec<Event>,
}

/// Makes all calls; the error lists what was not as expected.
pub(crate) async fn go(stage: &mut Stage, style: Style) -> Result<(), String> {
    println!("\nThe client stands for the code of the calling app; every time is counted from its call.");
    let mut findings = Findings::default();
    let (there, back_again) = (Path::new(FIRST, SECOND), Path::new(SECOND, FIRST));

    let call = Call::get(stage.sidecars[0].invoke_url(SECOND, "hello?name=world"));
    let title = "HTTP to an HTTP app: a GET by name (the first call also opens the connections)";
    let hello = show(stage, style, title, call.clone(), there).await?;
    greets(&mut findings, &hello, there);

    let again = show(stage, style, "The same again, connections open", call, there).await?;
    greets(&mut findings, &again, there);

    let call = Call::get(stage.sidecars[0].url("/hello?name=header")).header("dapr-app-id", SECOND);
    let title = "The same with the app named in a header instead of the path";
    let header = show(stage, style, title, call, there).await?;
    greets(&mut findings, &header, there);

    let body = r#"{"order":42,"items":["tea","milk"]}"#;
    let call = Call::post(stage.sidecars[0].invoke_url(SECOND, "echo"), body);
    let echo = show(stage, style, "A POST whose body comes back", call, there).await?;
    findings.expect(echo.answer.status == 200, "the POST answers 200");
    findings.expect(echo.answer.text() == body, "the body of the POST comes back");
    knows_caller(&mut findings, &echo.events, there);

    let call = Call::get(stage.sidecars[0].invoke_url(SECOND, "count"));
    let title = "A streamed answer, shown as it comes";
    let streamed = show(stage, style, title, call, there).await?;
    streams(&mut findings, &streamed);

    let call = Call::get(stage.sidecars[1].invoke_url(FIRST, "hello?name=back"));
    let title = "The other way round: app-2's sidecar calls app-1";
    let back = show(stage, style, title, call, back_again).await?;
    greets(&mut findings, &back, back_again);

    let call = Call::get(stage.sidecars[0].invoke_url("nobody", "hello"));
    let title = "An app that nobody knows";
    let unknown = show(stage, style, title, call, there).await?;
    refuses(&mut findings, &unknown);

    grpc::go(stage, style, &mut findings).await?;

    if findings.0.is_empty() {
        Ok(())
    } else {
        Err(format!("not as expected:\n  {}", findings.0.join("\n  ")))
    }
}

/// Makes a call and shows it.
pub(crate) async fn show(
    stage: &mut Stage,
    style: Style,
    title: &str,
    call: Call,
    path: Path,
) -> Result<Outcome, String> {
    let command = call.curl();
    println!("\n{}\n  {}", style.title(title), style.command(&command));
    stage.commands.push(command);
    stage.commands.dedup();
    let answer = call.send(&stage.client).await?;
    let events = told(stage);
    print(answer.begun, hops(&call, &answer, &events, path), style);
    println!("  {}", style.title(&summary(&answer, &events)));
    Ok(Outcome { answer, events })
}

/// What the apps told since the last time.
pub(crate) fn told(stage: &mut Stage) -> Vec<Event> {
    std::iter::from_fn(|| stage.events.try_recv().ok()).collect()
}

/// Prints what happened, in order.
pub(crate) fn print(begun: Instant, hops: Vec<Hop>, style: Style) {
    // Lines without a time stay behind the line before them.
    let mut last = begun;
    let mut timed: Vec<_> = hops
        .into_iter()
        .map(|hop| {
            last = hop.at.unwrap_or(last);
            (last, hop)
        })
        .collect();
    timed.sort_by_key(|(at, _)| *at);
    for (_, hop) in timed {
        let time = hop
            .at
            .map_or_else(String::new, |at| format!("{:.2} ms", since(begun, at) * 1000.0));
        let line = format!("  {time:>11}  {:<23} {}", hop.who, hop.text);
        let line = line.trim_end();
        let is_aside = hop.at.is_none();
        println!(
            "{}",
            if is_aside {
                style.aside(line)
            } else {
                line.to_owned()
            }
        );
    }
}

/// What happened.
fn hops(call: &Call, answer: &Answer, events: &[Event], path: Path) -> Vec<Hop> {
    let near = path.near;
    let mut hops = vec![Hop::new(answer.begun, "client", near, call.line())];
    hops.extend(Hop::of_events(events, path));
    let kind = answer.header("content-type").unwrap_or("no content-type");
    hops.push(Hop::new(
        answer.head,
        near,
        "client",
        format!("{}, {kind}", answer.status),
    ));
    for (at, piece) in &answer.pieces {
        let text = String::from_utf8_lossy(piece);
        let shown: String = text.trim_end().chars().take(LONGEST).collect();
        hops.push(Hop::new(*at, near, "client", shown));
    }
    hops
}

/// Where the time went.
fn summary(answer: &Answer, events: &[Event]) -> String {
    let milliseconds = |from, to| since(from, to) * 1000.0;
    let total = milliseconds(answer.begun, answer.ended);
    let first = events.first().map(|event| event.at);
    let last = events.last().map(|event| event.at);
    match (first, last) {
        (Some(first), Some(last)) => format!(
            "total {total:.2} ms: {:.2} there, {:.2} in the app, {:.2} back",
            milliseconds(answer.begun, first),
            milliseconds(first, last),
            milliseconds(last, answer.ended)
        ),
        _ => format!("total {total:.2} ms; no app saw it"),
    }
}

fn since(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

pub(crate) fn greets(findings: &mut Findings, outcome: &Outcome, path: Path) {
    let app = path.app;
    let greeting = format!("this is {app}");
    findings.expect(
        outcome.answer.status == 200 && outcome.answer.text().ends_with(&greeting),
        &format!("{app} greets with status 200"),
    );
    knows_caller(findings, &outcome.events, path);
}

/// The app was told who calls whom.
pub(crate) fn knows_caller(findings: &mut Findings, events: &[Event], path: Path) {
    let headers = events.iter().find_map(|event| match &event.what {
        What::Request { headers, .. } if event.app == path.app => Some(headers),
        _ => None,
    });
    for (name, value) in [
        ("dapr-caller-app-id", path.caller),
        ("dapr-callee-app-id", path.app),
    ] {
        let holds =
            headers.is_some_and(|headers| headers.iter().any(|(known, is)| known == name && is == value));
        findings.expect(holds, &format!("{} sees the header {name}: {value}", path.app));
    }
}

/// Pieces came while the app was still writing.
fn streams(findings: &mut Findings, outcome: &Outcome) {
    let answer = &outcome.answer;
    findings.expect(
        answer.status == 200 && answer.text().lines().count() == PIECES as usize,
        "all pieces of the streamed answer come",
    );
    let written = outcome.events.iter().filter_map(|event| match event.what {
        What::Piece { .. } => Some(event.at),
        _ => None,
    });
    let in_time = written
        .zip(&answer.pieces)
        .filter(|(written, (came, _))| since(*written, *came) < PAUSE.as_secs_f64())
        .count();
    findings.expect(
        in_time == PIECES as usize,
        "each piece comes before the app writes the next",
    );
}

fn refuses(findings: &mut Findings, outcome: &Outcome) {
    let body: serde_json::Value = serde_json::from_str(&outcome.answer.text()).unwrap_or_default();
    findings.expect(
        outcome.answer.status == 500 && body["errorCode"] == "ERR_DIRECT_INVOKE",
        "an unknown app is answered with status 500 and the error code ERR_DIRECT_INVOKE",
    );
    findings.expect(outcome.events.is_empty(), "no app sees a call to an unknown app");
}
