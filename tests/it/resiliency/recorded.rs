//! What Dapr's `daprd` did, policy by policy: how often the app was asked, and what the caller got. Recorded in
//! `data/retries.tsv`; what is meant to differ stands here and in the page on compatibility.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration_tests::grpc::{GrpcApp, GrpcClient, InvokeServiceRequest};
use integration_tests::{Daprd, DaprdBuilder, Mesh};
use tokio::task::JoinSet;

use super::app::{App, ReceivedBodies, grpc_app};
use super::stage::{Stage, post, resiliency};

/// The policies by their names in the record: `spec.policies`, and what each target has. `None` for no entries.
fn spec(policy: &str) -> Option<(&'static str, Option<&'static str>)> {
    const TWICE: &str = "retries: {r: {policy: constant, duration: 10ms, maxRetries: 2}}";
    Some(match policy {
        "none" => ("", None),
        "retry constant 10ms maxRetries 2" => (TWICE, Some("{retry: r}")),
        "same, matching http \"500,502-504\" grpc \"14\"" => (
            "retries: {r: {duration: 10ms, maxRetries: 2, matching: {httpStatusCodes: '500,502-504', gRPCStatusCodes: '14'}}}",
            Some("{retry: r}"),
        ),
        "timeout 200ms" => ("timeouts: {t: 200ms}", Some("{timeout: t}")),
        "timeout 200ms + retry 10ms x2" => (
            "timeouts: {t: 200ms}\n    retries: {r: {duration: 10ms, maxRetries: 2}}",
            Some("{timeout: t, retry: r}"),
        ),
        "breaker consecutiveFailures >= 2, timeout 1s" => (
            "circuitBreakers: {c: {maxRequests: 1, timeout: 1s, trip: consecutiveFailures >= 2}}",
            Some("{circuitBreaker: c}"),
        ),
        "retry 10ms x3 + breaker consecutiveFailures >= 2" => (
            "retries: {r: {duration: 10ms, maxRetries: 3}}\n    circuitBreakers: {c: {trip: consecutiveFailures >= 2}}",
            Some("{retry: r, circuitBreaker: c}"),
        ),
        "DefaultRetryPolicy constant 10ms x2" => (
            "retries: {DefaultRetryPolicy: {duration: 10ms, maxRetries: 2}}",
            None,
        ),
        "target with empty entry {}" => ("", Some("{}")),
        "retry maxRetries 0" => ("retries: {r: {maxRetries: 0}}", Some("{retry: r}")),
        "retry exponential maxInterval 100ms x3" => (
            "retries: {r: {policy: exponential, maxInterval: 100ms, maxRetries: 3}}",
            Some("{retry: r}"),
        ),
        "DaprBuiltInServiceRetries constant 50ms x5" => (
            "retries: {DaprBuiltInServiceRetries: {duration: 50ms, maxRetries: 5}}",
            None,
        ),
        "DaprBuiltInServiceRetries constant 50ms maxRetries 1" => (
            "retries: {DaprBuiltInServiceRetries: {duration: 50ms, maxRetries: 1}}",
            None,
        ),
        _ => return None,
    })
}

const TARGETS: [&str; 10] = [
    "s", "g", "gcut", "hdown", "gdown", "den", "deng", "killed", "ext", "extdown",
];

fn resource(policy: &str, caller: &str) -> String {
    let (policies, entry) = spec(policy).unwrap_or_else(|| panic!("an unknown policy {policy:?}"));
    let mut text = format!("  policies:\n    {policies}\n  targets:\n    apps:\n");
    for target in TARGETS.into_iter().chain([caller]) {
        if let Some(entry) = entry {
            writeln!(text, "      {target}: {entry}").unwrap();
        }
    }
    resiliency(&text)
}

/// One line of the record.
struct Row {
    policy: String,
    entry: String,
    case: String,
    app_saw: usize,
    status: String,
    /// How long it took.
    seconds: f64,
    body: String,
}

impl Row {
    /// Whether what comes of it in Dapr depends on which of both sidecars, or of their parts, was first to see that the
    /// time is over.
    fn is_raced_by_time(&self) -> bool {
        let waits = ["sleep", "slowbody", "body takes"];
        self.policy.starts_with("timeout") && waits.iter().any(|case| self.case.starts_with(case))
    }
}

fn rows() -> Vec<Row> {
    let lines = include_str!("../data/retries.tsv").lines().skip(1);
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        Row {
            policy: fields[0].to_owned(),
            entry: fields[1].to_owned(),
            case: fields[2].to_owned(),
            app_saw: fields[3].parse().unwrap(),
            status: fields[5].to_owned(),
            seconds: fields[6].parse().unwrap(),
            body: serde_json::from_str(fields[7]).unwrap(),
        }
    };
    lines.map(row).collect()
}

/// Everybody who is called.
struct Callees {
    seen: ReceivedBodies,
    stage: Stage,
    app: App,
    _grpc: [GrpcApp; 2],
    /// Held while a call ends the connection of an app, which others share.
    cutting: tokio::sync::Mutex<()>,
    _sidecars: Vec<Daprd>,
}

impl Callees {
    async fn start() -> Self {
        let (seen, stage) = (ReceivedBodies::default(), Stage::new());
        let app = App::start(seen.clone()).await;
        let (grpc, cut) = (grpc_app(seen.clone()).await, grpc_app(seen.clone()).await);
        let deny = format!("{}/deny.yaml", stage.mesh.folder().display());
        let text = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {{name: deny}}\nspec:\n  accessControl: \
             {{defaultAction: deny, trustDomain: public}}\n{}",
            Mesh::names(stage.mesh.folder())
        );
        std::fs::write(&deny, text).unwrap();
        let denied = |id: &str| Mesh::at_home(DaprdBuilder::new(id).arg(format!("--config={deny}")));
        let mut sidecars = vec![
            stage.mesh.sidecar("s").app_port(app.port).start().await,
            denied("den").app_port(app.port).start().await,
            grpc_sidecar(stage.mesh.sidecar("g"), grpc.port).await,
            grpc_sidecar(denied("deng"), grpc.port).await,
            grpc_sidecar(stage.mesh.sidecar("gcut"), cut.port).await,
        ];
        // These apps go when their sidecars have seen them.
        let gone = App::start(seen.clone()).await;
        sidecars.push(stage.mesh.sidecar("hdown").app_port(gone.port).start().await);
        let gone = grpc_app(seen.clone()).await;
        sidecars.push(grpc_sidecar(stage.mesh.sidecar("gdown"), gone.port).await);
        if !Mesh::is_by_mdns() {
            stage.mesh.register("killed", integration_tests::free_port());
        }
        Self {
            seen,
            stage,
            app,
            _grpc: [grpc, cut],
            cutting: tokio::sync::Mutex::default(),
            _sidecars: sidecars,
        }
    }

    /// The app's own URL.
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.app.port)
    }

    async fn caller(&self, index: usize, policy: &str) -> Daprd {
        let endpoint = |name: &str, base: &str| {
            format!(
                "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata: {{name: {name}}}\nspec: {{version: v1, \
                 baseUrl: '{base}'}}\n"
            )
        };
        let id = format!("me{index}");
        let resources = [
            resource(policy, &id),
            endpoint("ext", &self.url()),
            endpoint(
                "extdown",
                &format!("http://127.0.0.1:{}", integration_tests::free_port()),
            ),
        ];
        let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
        self.stage
            .sidecar(&id, &resources)
            .app_port(self.app.port)
            .start()
            .await
    }
}

async fn grpc_sidecar(builder: DaprdBuilder, port: u16) -> Daprd {
    builder.app_port(port).arg("--app-protocol=grpc").start().await
}

/// Ports and keys are not the same twice, and blanks in JSON are as it comes in Go.
fn normal(text: &str, key: &str) -> String {
    let text = text.replace(key, "@").replace(", \"message\"", ",\"message\"");
    let mut normal = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("127.0.0.1:") {
        let (before, after) = rest.split_at(at + "127.0.0.1:".len());
        normal.push_str(before);
        rest = after.trim_start_matches(|character: char| character.is_ascii_digit());
        if rest.len() < after.len() {
            normal.push_str("<port>");
        }
    }
    normal + rest
}

/// Where this sidecar is meant to differ: policy, entry, case, how often the app is asked, and the answer if it is
/// another one.
const DIFFERENCES: [(&str, &str, &str, usize, Option<&str>); 5] = [
    // The addresses of a connection that is gone are not told.
    (
        "none",
        "HTTP -> HTTP app",
        "app resets the connection",
        1,
        Some(
            "{\"errorCode\":\"ERR_DIRECT_INVOKE\",\"message\":\"failed to invoke, id: s, err: rpc error: code = Internal \
             desc = error invoking app channel: Post \\\"http://127.0.0.1:<port>/reset/@\\\": read: connection reset by \
             peer\"}",
        ),
    ),
    (
        "none",
        "HTTP -> HTTP app",
        "app answers 6000-byte header",
        1,
        Some(
            "{\"errorCode\":\"ERR_DIRECT_INVOKE\",\"message\":\"failed to invoke, id: s, err: rpc error: code = Internal \
             desc = error invoking app channel: Post \\\"http://127.0.0.1:<port>/bighdr/6000/@\\\": net/http: server \
             response headers exceeded 4096 bytes; aborted\"}",
        ),
    ),
    // A body that cannot be sent again is not: Dapr sends what is left of it.
    (
        "timeout 200ms + retry 10ms x2",
        "HTTP chunked body -> HTTP app",
        "sleep/600/@",
        1,
        None,
    ),
    // An answer that has begun is the last, and one that was cut does not look whole.
    (
        "timeout 200ms + retry 10ms x2",
        "HTTP -> HTTP app",
        "slowbody/4/@",
        1,
        Some("ab (cut)"),
    ),
    (
        "timeout 200ms",
        "HTTP -> HTTP app",
        "body takes 1.2 s",
        1,
        Some("ab (cut)"),
    ),
];

/// Texts that depend on which end of a connection was first to notice.
const RACES: [&str; 2] = ["error reading from server: ", "error reading server preface: "];

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_does_what_it_did_for_dapr() {
    let callees = Arc::new(Callees::start().await);
    let rows = rows();
    let mut policies: Vec<String> = rows.iter().map(|row| row.policy.clone()).collect();
    policies.dedup();
    let mut callers = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        callers.push((index, policy.clone(), callees.caller(index, policy).await));
    }
    let mut running = JoinSet::new();
    let mut rows: HashMap<String, Vec<Row>> = rows.into_iter().fold(HashMap::new(), |mut rows, row| {
        rows.entry(row.policy.clone()).or_insert_with(Vec::new).push(row);
        rows
    });
    for (index, policy, caller) in callers {
        let (rows, callees) = (rows.remove(&policy).unwrap(), Arc::clone(&callees));
        running.spawn(async move { of_policy(&callees, index, &caller, rows).await });
    }
    let wrong: Vec<String> = running.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Makes the calls of one policy, and says what was not as it should be.
async fn of_policy(callees: &Callees, index: usize, caller: &Daprd, rows: Vec<Row>) -> Vec<String> {
    let client = GrpcClient::connect(caller.grpc_port).await;
    let is_peer = std::env::var_os("DAPRD_PEER").is_some();
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let Some(asked) = Asked::of(row, index) else {
            continue;
        };
        // Nobody announces a sidecar that is gone.
        if Mesh::is_by_mdns() && asked.target == "killed" {
            continue;
        }
        let key = match &asked.key {
            Some(key) => format!("{key}p{index}"),
            None => format!("k{index}x{number}"),
        };
        if row.case.ends_with("after 1 s") {
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        let _alone = match asked.target.as_str() {
            "gcut" => Some(callees.cutting.lock().await),
            _ => None,
        };
        let (before, begun) = (callees.seen.count(&key), Instant::now());
        let (status, body) = call(callees, caller, &client, &asked, &key).await;
        let elapsed = begun.elapsed().as_secs_f64();
        let saw = callees.seen.count(&key) - before;
        let found = normal(&body, &key).replace(&format!("me{index}"), "me");
        // Another program is held to what was recorded of it.
        let differs = DIFFERENCES.iter().find(|(policy, entry, case, ..)| {
            !is_peer && (*policy, *entry, *case) == (&row.policy, &row.entry, &row.case)
        });
        let (wanted_saw, wanted) = match differs {
            Some((.., saw, Some(text))) => (*saw, (*text).to_owned()),
            Some((.., saw, None)) => (*saw, row.body.clone()),
            None => (row.app_saw, row.body.clone()),
        };
        let wanted = wanted.replace("<killed.internal-port>", "<port>");
        let wanted = normal(wanted.trim_start_matches("\n\u{2}"), "@");
        let is_race = RACES.iter().any(|race| wanted.contains(race));
        let is_same = found == wanted || (is_race && !found.is_empty());
        if is_peer && row.is_raced_by_time() && elapsed >= 0.2 {
            continue;
        }
        // Pauses are there, whatever else takes time. The first of an exponential policy is half a second, scattered by
        // half of it.
        let least = if row.policy.contains("exponential") {
            0.2
        } else {
            row.seconds - 0.3
        };
        let is_slow_enough = differs.is_some() || row.seconds < 0.5 || elapsed >= least;
        // A stream may be refused before or after its first message went on, and a limit of time may end before an app that
        // is short of time sees the call.
        let may_miss = row.case == "3 messages" || row.is_raced_by_time();
        let is_count = saw == wanted_saw || (saw < wanted_saw && may_miss);
        if !is_count || status != row.status || !is_same || !is_slow_enough {
            wrong.push(format!(
                "{} | {} | {}\n   wanted {wanted_saw} {} {wanted:?} in {} s\n   found  {saw} {status} {found:?} in {elapsed:.1} s",
                row.policy, row.entry, row.case, row.status, row.seconds
            ));
        }
    }
    wrong
}

async fn call(
    callees: &Callees,
    caller: &Daprd,
    client: &GrpcClient,
    asked: &Asked,
    key: &str,
) -> (String, String) {
    let method = asked.method.replace('@', key);
    match asked.road {
        "HTTP" | "HTTP chunked body" => {
            let body = if asked.road == "HTTP" {
                reqwest::Body::from("hello")
            } else {
                reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("hello")]))
            };
            let target = asked.target.replace("<url>", &callees.url());
            let answer = post(caller, &target, &method, body).await;
            let cut = if answer.is_whole { "" } else { " (cut)" };
            (answer.status.to_string(), answer.body + cut)
        }
        "InvokeService" => {
            let request = InvokeServiceRequest::post(&asked.target, &method, "hello");
            let (answer, response) = client.invoke(&request, &[]).await;
            let of_http = answer.header("dapr-http-status");
            let of_http = of_http.map(|status| format!(" (dapr-http-status {status})"));
            let body = match answer.code() {
                0 => String::from_utf8(response.body().to_vec()).unwrap(),
                _ => answer.status_message(),
            };
            (format!("{}{}", answer.code(), of_http.unwrap_or_default()), body)
        }
        proxied => {
            let mut metadata = vec![("dapr-app-id", asked.target.as_str())];
            if proxied.contains("dapr-stream") {
                metadata.push(("dapr-stream", "true"));
            }
            let messages: Vec<&[u8]> = vec![b"hello"; asked.messages];
            let answer = client
                .call(&format!("/test.Svc/{method}"), &metadata, &messages)
                .await;
            let body = match answer.code() {
                0 => String::from_utf8(answer.only().to_vec()).unwrap(),
                _ => answer.status_message(),
            };
            (answer.code().to_string(), body)
        }
    }
}

/// What a row asks for.
struct Asked {
    road: &'static str,
    target: String,
    method: String,
    messages: usize,
    key: Option<String>,
}

impl Asked {
    fn of(row: &Row, index: usize) -> Option<Self> {
        let (road, target) = row.entry.split_once(" -> ")?;
        let road = [
            "HTTP chunked body",
            "InvokeService",
            "proxied stream with dapr-stream",
            "proxied stream",
            "proxied unary",
            "HTTP",
        ]
        .into_iter()
        .find(|known| *known == road)?;
        let target = match target {
            "HTTP app" => "s".to_owned(),
            "gRPC app" if row.case.starts_with("app closes") => "gcut".to_owned(),
            "gRPC app" => "g".to_owned(),
            "HTTP app not listening" => "hdown".to_owned(),
            "gRPC app not listening" => "gdown".to_owned(),
            "HTTP app, ACL denies" => "den".to_owned(),
            "gRPC app, ACL denies" => "deng".to_owned(),
            "self, HTTP app" => format!("me{index}"),
            "HTTPEndpoint" => "ext".to_owned(),
            "HTTPEndpoint, nothing listening" => "extdown".to_owned(),
            "URL" => "<url>".to_owned(),
            "app id a.b.c" => "a.b.c".to_owned(),
            "sidecar killed after first resolution" => "killed".to_owned(),
            _ => return None,
        };
        let is_grpc = target.starts_with('g') || target == "deng";
        let (method, key) = match row.case.as_str() {
            "app closes the connection without answering" if is_grpc => ("close-@", None),
            "app closes the connection without answering" => ("close/@", None),
            "app answers bytes that are not HTTP" => ("garbage/@", None),
            "app resets the connection" => ("reset/@", None),
            "app answers 6000-byte header" => ("bighdr/6000/@", None),
            "URL target, status/500" => ("status/500/@", None),
            "3 messages" | "1 message" => ("count-@", None),
            "method with NUL" => ("a%00b@", None),
            "method with #" if road == "InvokeService" => ("a#b@", None),
            "method with #" => return None,
            "body takes 1.2 s" => ("slowbody/4/@", None),
            "app id with two dots" | "again (killed)" => ("ok/@", None),
            case => {
                let (method, _) = case.split_once(", ").unwrap_or((case, ""));
                let key = method.rsplit(['/', '-']).next().filter(|key| *key != "@");
                let asked = Self {
                    road,
                    target,
                    method: key.map_or(method.to_owned(), |key| method.replace(key, "@")),
                    messages: 1,
                    key: key.map(str::to_owned),
                };
                return Some(asked);
            }
        };
        Some(Self {
            road,
            target,
            method: method.to_owned(),
            messages: if row.case == "3 messages" { 3 } else { 1 },
            key,
        })
    }
}
