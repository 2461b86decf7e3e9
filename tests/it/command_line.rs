//! The command line: help, versions, mistakes, and what keeps a sidecar from starting.

use integration_tests::{Exit, run_daprd};

/// The flags as Dapr has them.
const FLAGS: &str = include_str!("../../crates/daprd-bin/tests-data/flags.tsv");

/// The text of the last line of the log.
fn last_message(exit: &Exit) -> String {
    let line = exit.stdout.lines().last().unwrap_or_default();
    let message = line.split_once(" msg=\"").map_or("", |(_, rest)| rest);
    let end = message
        .find("\" app_id=")
        .or_else(|| message.find("\" instance="));
    message[..end.unwrap_or(message.len())].replace("\\\"", "\"")
}

#[tokio::test]
async fn help_tells_every_flag() {
    for flag in ["--help", "-h"] {
        let exit = run_daprd([flag]).await;
        assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), ""));
        assert!(exit.stderr.starts_with("Usage of daprd:\n"), "{}", exit.stderr);
        for line in FLAGS.lines().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let (name, default, is_deprecated) = (fields[0], fields[2], !fields[3].is_empty());
            let shown = exit
                .stderr
                .lines()
                .find(|line| line.trim_start().split(' ').next() == Some(&format!("--{name}")));
            assert_eq!(shown.is_none(), is_deprecated, "--{name}");
            let Some(shown) = shown else { continue };
            if !["", "0", "0s", "false"].contains(&default) {
                assert!(
                    shown.ends_with(&format!("(default {default})"))
                        || shown.ends_with(&format!("(default \"{default}\")")),
                    "{shown}"
                );
            }
        }
    }
}

#[tokio::test]
async fn versions_are_told() {
    let exit = run_daprd(["--version"]).await;
    assert_eq!(exit.code, Some(0));
    let version = exit.stdout.trim_end();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    assert!(
        version == "edge" || version.split(['.', '-']).take(3).all(is_number),
        "{version:?}"
    );
    let exit = run_daprd(["--build-info"]).await;
    assert_eq!(exit.code, Some(0));
    assert!(
        exit.stdout.starts_with(&format!("Version: {version}\n")),
        "{}",
        exit.stdout
    );
    assert!(
        exit.stdout.contains("\nMiddleware: middleware.http.bearer, "),
        "{}",
        exit.stdout
    );
}

#[tokio::test]
async fn deprecated_flags_are_told() {
    let exit = run_daprd([
        "--app-ssl",
        "--components-path=x",
        "--actors-service=x",
        "--version",
    ])
    .await;
    assert_eq!(exit.code, Some(0));
    assert_eq!(
        exit.stderr,
        "Flag --app-ssl has been deprecated, use '--app-protocol https|grpcs'\n\
         Flag --components-path has been deprecated, use --resources-path\n\
         Flag --actors-service has been deprecated, flag no longer has any effect\n"
    );
}

#[tokio::test]
async fn mistakes_of_form_end_with_2() {
    for (arg, message) in [
        ("--nope", "unknown flag: --nope"),
        ("-c", "unknown shorthand flag: 'c' in -c"),
        ("--app-id", "flag needs an argument: --app-id"),
        ("--=x", "bad flag syntax: --=x"),
        (
            "--app-max-concurrency=x",
            "invalid argument \"x\" for \"--app-max-concurrency\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "--dapr-block-shutdown-duration=5",
            "invalid argument \"5\" for \"--dapr-block-shutdown-duration\" flag: time: missing unit in duration \"5\"",
        ),
        (
            "--enable-mtls=maybe",
            "invalid argument \"maybe\" for \"--enable-mtls\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "--scheduler-job-streams=-1",
            "invalid argument \"-1\" for \"--scheduler-job-streams\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
    ] {
        let exit = run_daprd([arg]).await;
        assert_eq!((exit.code, exit.stdout.as_str()), (Some(2), ""), "{arg}");
        assert!(exit.stderr.starts_with("Usage of daprd:\n"), "{arg}");
        assert_eq!(exit.stderr.lines().last(), Some(message), "{arg}");
    }
}

#[tokio::test]
async fn values_that_cannot_be_end_with_1() {
    let quantity = "quantities must match the regular expression \
                    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let fatal = |text: &str| format!("Fatal error from runtime: {text}");
    let atoi = |what: &str| {
        fatal(&format!(
            "error parsing {what}: strconv.Atoi: parsing \"abc\": invalid syntax"
        ))
    };
    let id = "--app-id=x";
    for (args, message) in [
        (vec![], fatal("parameter app-id cannot be empty")),
        (vec!["--app-id=a.b"], fatal("parameter app-id cannot contain dots")),
        (vec![id, "--mode=foo"], fatal("invalid mode: foo")),
        (vec![id, "--dapr-http-port=abc"], atoi("dapr-http-port flag")),
        (vec![id, "--dapr-grpc-port=abc"], atoi("dapr-grpc-port flag")),
        (vec![id, "--dapr-internal-grpc-port=abc"], atoi("dapr-internal-grpc-port")),
        (vec![id, "--dapr-public-port=abc"], atoi("dapr-public-port")),
        (vec![id, "--app-port=abc"], atoi("app-port")),
        (
            vec![id, "--profile-port=abc"],
            atoi("profile-port flag"),
        ),
        (
            vec![id, "--metrics-port=abc"],
            fatal("failed to parse metrics port: strconv.Atoi: parsing \"abc\": invalid syntax"),
        ),
        (
            vec![id, "--app-port=3777", "--dapr-http-port=3777"],
            fatal("the 'dapr-http-port' argument value 3777 conflicts with 'app-port'"),
        ),
        (
            vec![id, "--app-port=3777", "--dapr-grpc-port=3777"],
            fatal("the 'dapr-grpc-port' argument value 3777 conflicts with 'app-port'"),
        ),
        (
            vec![id, "--dapr-http-port=0"],
            fatal("the 'dapr-http-port' argument value 0 conflicts with 'app-port'"),
        ),
        (vec![id, "--app-protocol=udp"], fatal("invalid value for 'app-protocol': udp")),
        (
            vec![id, "--disable-init-endpoints=config,foo"],
            fatal("invalid value for 'disable-init-endpoints': foo"),
        ),
        (
            vec![id, "--app-health-probe-timeout=6000", "--enable-app-health-check", "--app-port=1"],
            fatal("value for 'health-probe-timeout' must be smaller than 'health-probe-interval'"),
        ),
        (
            vec![id, "--max-body-size=abc"],
            format!("Failed to parse flags: invalid value for 'max-body-size' option: {quantity}"),
        ),
        (
            vec![id, "--max-body-size="],
            format!("Failed to parse flags: invalid value for 'max-body-size' option: {quantity}"),
        ),
        (
            vec![id, "--read-buffer-size=10 Ki"],
            format!("Failed to parse flags: invalid value for 'read-buffer-size' option: {quantity}"),
        ),
        (
            vec![id, "--actors-disseminate-timeout=0"],
            "Failed to parse flags: invalid value for 'actors-disseminate-timeout' option: must be positive, got 0s"
                .to_owned(),
        ),
        (
            vec![id, "--scheduler-job-streams=0"],
            fatal("must define at least 1 scheduler stream, got 0"),
        ),
        (vec![id, "--log-level=panic"], "invalid value for --log-level: panic".to_owned()),
        (
            vec![id, "--log-file=/nowhere/at/all.log"],
            "failed to open log file \"/nowhere/at/all.log\": open /nowhere/at/all.log: no such file or directory"
                .to_owned(),
        ),
        (
            vec![id, "--config=/nowhere/at/all.yaml"],
            fatal("error loading configuration: stat /nowhere/at/all.yaml: no such file or directory"),
        ),
        (
            vec![id, "--unix-domain-socket=/nowhere", "--enable-metrics=false"],
            fatal(
                "failed to start API gRPC server: listen unix /nowhere/dapr-x-grpc.socket: bind: no such file or \
                 directory",
            ),
        ),
        (
            vec![id, "--metrics-listen-address=::1"],
            fatal("failed to listen on ::1:9090: listen tcp: address ::1:9090: too many colons in address"),
        ),
    ] {
        let exit = run_daprd(&args).await;
        assert_eq!(exit.code, Some(1), "{args:?}: {}{}", exit.stdout, exit.stderr);
        assert_eq!(last_message(&exit), message, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_values_that_can_be() {
    let mesh = integration_tests::Mesh::new();
    for args in [
        vec!["--max-body-size=-2", "--read-buffer-size=8k"],
        vec!["--max-body-size=0"],
        vec!["--max-body-size=1E", "--log-level=WARN"],
        vec!["--metrics-port=abc", "--enable-metrics=false"],
        vec!["--dapr-graceful-shutdown-seconds=-10"],
        vec!["--dapr-listen-addresses=127.0.0.1, 127.0.0.1"],
        vec!["--app-protocol=GRPCS", "--app-ssl"],
        vec!["-log-as-json"],
    ] {
        let mut sidecar = mesh.sidecar("A b");
        for arg in &args {
            sidecar = sidecar.arg(*arg);
        }
        let exit = sidecar.start().await.stop().await;
        assert_eq!(exit.code, Some(0), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_flag() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("listen tcp 127.0.0.1:{port}: bind: address already in use");
    let none = "could not listen on any endpoint";
    let runtime = |what: &str| format!("Fatal error from runtime: {what}");
    let cases = [
        (
            "--metrics-port",
            runtime(&format!("failed to listen on 127.0.0.1:{port}: {text}")),
        ),
        ("--dapr-public-port", runtime(&text)),
        (
            "--dapr-http-port",
            runtime(&format!("failed to start HTTP server: {none}")),
        ),
        (
            "--dapr-grpc-port",
            runtime(&format!("failed to start API gRPC server: {none}")),
        ),
        (
            "--dapr-internal-grpc-port",
            runtime(&format!("failed to start internal gRPC server: {none}")),
        ),
        (
            "--profile-port",
            runtime(&format!("failed to start HTTP server: {none} for profiling API")),
        ),
    ];
    let mesh = integration_tests::Mesh::new();
    let starts = cases.map(|(flag, last)| {
        let mut sidecar = mesh.sidecar("x").without_waiting().arg(format!("{flag}={port}"));
        if flag == "--profile-port" {
            sidecar = sidecar.arg("--enable-profiling");
        }
        async move { (flag, last, sidecar.start().await.exit().await) }
    });
    for (flag, last, exit) in futures_util::future::join_all(starts).await {
        assert_eq!(exit.code, Some(1), "{flag}");
        assert_eq!(last_message(&exit), last, "{flag}");
        let told = exit.stdout.lines().any(|line| {
            line.contains("level=error") && line.contains(flag) && line.contains(&port.to_string())
        });
        assert!(told, "{flag} is not named:\n{}", exit.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_becomes_free_is_taken() {
    let port = integration_tests::free_port();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mesh = integration_tests::Mesh::new();
    let sidecar = mesh
        .sidecar("x")
        .without_waiting()
        .arg(format!("--dapr-http-port={port}"))
        .start()
        .await;
    sidecar.await_log("API gRPC server is running").await;
    drop(listener);
    sidecar.await_log("dapr initialized. Status: Running.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_when_the_sidecar_can_call_out() {
    let mesh = integration_tests::Mesh::new();
    let sidecar = mesh
        .sidecar("x")
        .arg("--dapr-listen-addresses=127.0.0.1,[::1]")
        .start()
        .await;
    let exit = run_daprd([
        "--wait".to_owned(),
        format!("--dapr-http-port={}", sidecar.http_port),
    ])
    .await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("Dapr is outbound ready!"), "{}", exit.stderr);
}
