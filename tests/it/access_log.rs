//! The access log: a line for each call, with what is known of it at both ends.

use integration_tests::grpc::{GrpcClient, InvokeServiceRequest};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, eventually, run_daprd, text};

const TEMPLATE: &str =
    "[{api} {caller}>{target} {verb} {path} {status} {bytes} {attempts} {endpoint} {trace_id} {end}]";

async fn app() -> HttpApp {
    HttpApp::start(Protocol::Http, |request| async move {
        match request.uri().path() {
            "/no" => text(404, "no"),
            _ => text(200, "hello"),
        }
    })
    .await
}

/// The lines of the access log, without what stands around them.
fn lines(daprd: &Daprd) -> Vec<String> {
    let log = daprd.log();
    let lines = log.lines().filter(|line| line.contains("scope=daprd.access"));
    lines
        .filter_map(|line| Some(line.split_once("msg=\"[")?.1.split_once("]\"")?.0.to_owned()))
        .collect()
}

/// Waits for a line that begins and ends so.
async fn has_line(daprd: &Daprd, beginning: &str, end: &str) -> String {
    let fits = |line: &String| line.starts_with(beginning) && line.ends_with(end);
    eventually(&format!("{beginning} … {end} of {}", daprd.app_id), || async {
        lines(daprd).iter().any(fits)
    })
    .await;
    lines(daprd).into_iter().find(fits).unwrap()
}

#[tokio::test]
async fn calls_at_both_ends() {
    let mesh = Mesh::with_configuration(&format!(
        "  tracing: {{samplingRate: '1'}}\n  daprd:\n    accessLog: {{template: '{TEMPLATE}'}}\n"
    ));
    let (mine, theirs) = (app().await, app().await);
    let caller = mesh.sidecar("c").app_port(mine.port).start().await;
    let callee = mesh.sidecar("s").app_port(theirs.port).start().await;
    let client = reqwest::Client::new();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    for path in ["/v1.0/invoke/s/method/a%20b?secret=1", "/v1.0/invoke/s/method/no"] {
        let request = client.get(caller.url(path)).header("traceparent", &parent);
        request.send().await.unwrap().bytes().await.unwrap();
    }
    let line = has_line(
        &caller,
        "http c>s GET /v1.0/invoke/s/method/a%20b 200 5 1 ",
        &format!(" {trace} whole"),
    )
    .await;
    assert!(
        line.contains(" 127.0.0.1:") || line.contains(':'),
        "an endpoint: {line}"
    );
    has_line(
        &caller,
        "http c>s GET /v1.0/invoke/s/method/no 404 2 1 ",
        &format!(" {trace} whole"),
    )
    .await;
    has_line(
        &callee,
        "internal c>s GET /a b 200 5 - -",
        &format!(" {trace} whole"),
    )
    .await;
    has_line(
        &callee,
        "internal c>s GET /no 404 2 - -",
        &format!(" {trace} whole"),
    )
    .await;
    let grpc = GrpcClient::connect(caller.grpc_port).await;
    let request = InvokeServiceRequest::post("s", "x", "1");
    grpc.invoke(&request, &[]).await;
    let method = "/dapr.proto.runtime.v1.Dapr/InvokeService";
    has_line(&caller, &format!("grpc c>s - {method} 0 "), " whole").await;
    for (path, beginning) in [
        (
            "/v1.0/invoke/nope/method/x",
            "http c>nope GET /v1.0/invoke/nope/method/x 500 ",
        ),
        (
            "/v1.0/invoke/c/method/x",
            "http c>c GET /v1.0/invoke/c/method/x 200 5 ",
        ),
        ("/v1.0/metadata", "http c>- GET /v1.0/metadata 200 "),
    ] {
        client
            .get(caller.url(path))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        has_line(&caller, beginning, " whole").await;
    }
    let log = caller.log();
    assert!(!log.contains("secret="), "a query may be a secret");
    assert!(!lines(&caller).iter().any(|line| line.contains("healthz")));
}

#[tokio::test]
async fn it_is_switched_on_by_configuration_or_variable() {
    for (spec, variable, is_on) in [
        ("{}", None, false),
        ("{enabled: true}", None, true),
        ("{template: x}", None, true),
        ("{enabled: false, template: x}", Some("true"), false),
        ("{}", Some("true"), true),
        ("{}", Some("<{path}>"), true),
        ("{}", Some("false"), false),
    ] {
        let mesh = Mesh::with_configuration(&format!("  daprd: {{accessLog: {spec}}}\n"));
        let mut builder = mesh.sidecar("a");
        if let Some(variable) = variable {
            builder = builder.env("DAPRD_ACCESS_LOG", variable);
        }
        let daprd = builder.start().await;
        let answer = reqwest::get(daprd.url("/v1.0/metadata")).await.unwrap();
        assert_eq!(answer.status(), 200);
        let exit = daprd.stop().await;
        let is_logged = exit.stdout.contains("scope=daprd.access");
        assert_eq!(is_logged, is_on, "{spec} {variable:?}: {}", exit.stdout);
        if variable == Some("<{path}>") {
            assert!(
                exit.stdout.contains("msg=\"</v1.0/metadata>\""),
                "{}",
                exit.stdout
            );
        }
    }
}

#[tokio::test]
async fn mistakes_name_file_and_field() {
    for (template, wanted) in [
        ("{verb} {token}", "there is no field {token}"),
        ("{verb", "has no counterpart"),
    ] {
        let mesh = Mesh::with_configuration(&format!("  daprd: {{accessLog: {{template: '{template}'}}}}\n"));
        let mut args = mesh.args();
        args.push("--app-id=a".to_owned());
        let exit = run_daprd(args).await;
        assert_eq!(exit.code, Some(1), "{template}");
        for part in [wanted, "spec.daprd.accessLog.template", "config.yaml"] {
            assert!(exit.stdout.contains(part), "{part}: {}", exit.stdout);
        }
    }
}
