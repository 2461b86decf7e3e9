//! Collectors that are away, slow or odd, and callers that say odd things about their traces.

use std::sync::Mutex;
use std::time::Duration;

use integration_tests::collector::{Collector, Spoken, grpc};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, eventually, free_port, text};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{app, call, exporting, sidecar};

async fn metrics(daprd: &Daprd) -> String {
    let url = format!("http://127.0.0.1:{}/metrics", daprd.metrics_port);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_last_is_exported_at_the_stop() {
    for spoken in [Spoken::Grpc, Spoken::Http, Spoken::Zipkin] {
        let (collector, app, mesh) = (Collector::start(spoken).await, app().await, Mesh::new());
        // Without a stop the spans would wait for an hour.
        let daprd = sidecar(&mesh, &app, &exporting(spoken, collector.port, ""))
            .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
            .start()
            .await;
        for _ in 0..3 {
            assert_eq!(call(&daprd, &[]).await.status(), 200);
        }
        assert_eq!(daprd.stop().await.code, Some(0));
        assert_eq!(collector.spans().len(), 3, "{spoken:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_exports_what_was_recorded_before_it() {
    let (collector, app, mesh) = (Collector::start(Spoken::Grpc).await, app().await, Mesh::new());
    let daprd = sidecar(&mesh, &app, &exporting(Spoken::Grpc, collector.port, ""))
        .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .start()
        .await;
    call(&daprd, &[]).await;
    let path = mesh.folder().join(format!("{}.yaml", app.port));
    let without = exporting(Spoken::Grpc, collector.port, "").replace("'1'", "'0'");
    std::fs::write(path, format!("spec:\n{without}")).unwrap();
    daprd.signal(rustix::process::Signal::HUP);
    collector.await_spans(1).await;
    daprd.await_log("TraceIDRatioBased{0}").await;
    daprd.await_health().await;
    let answer = call(&daprd, &[]).await;
    assert_eq!(
        answer.headers().get("traceparent"),
        None,
        "the new configuration counts"
    );
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Accepts connections and does with each what it is told.
async fn odd_collector(odd: impl Fn(TcpStream) + Send + 'static) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            odd(socket);
        }
    });
    (port, task)
}

/// A collector that accepts and says nothing holds up neither calls nor the stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs() {
    for spoken in [Spoken::Grpc, Spoken::Http, Spoken::Zipkin] {
        let held = Mutex::new(Vec::new());
        let (port, task) = odd_collector(move |socket| held.lock().unwrap().push(socket)).await;
        let (app, mesh) = (app().await, Mesh::new());
        let daprd = sidecar(&mesh, &app, &exporting(spoken, port, ""))
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "4")
            .arg("--dapr-graceful-shutdown-seconds=2")
            .start()
            .await;
        for _ in 0..20 {
            assert_eq!(call(&daprd, &[]).await.status(), 200, "{spoken:?}");
        }
        eventually("dropped spans", || async {
            let text = metrics(&daprd).await;
            let mut lines = text.lines();
            let dropped =
                lines.find(|line| line.starts_with("daprd_trace_spans_dropped_total{app_id=\"a\","));
            dropped.is_some_and(|line| !line.ends_with(" 0"))
        })
        .await;
        let exit = daprd.stop().await;
        assert_eq!(exit.code, Some(0), "a collector is no reason to fail");
        assert!(exit.stdout.contains("spans are lost"), "{}", exit.stdout);
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collectors_that_are_away_reset_or_answer_rubbish() {
    let rubbish = |socket: TcpStream| {
        tokio::spawn(async move {
            let mut socket = socket;
            let _ = socket
                .write_all(b"SSH-2.0-x\r\n\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
                .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
    };
    let reset = |socket: TcpStream| {
        let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    };
    let (odd, odd_task) = odd_collector(rubbish).await;
    let (resetting, reset_task) = odd_collector(reset).await;
    for spoken in [Spoken::Grpc, Spoken::Http, Spoken::Zipkin] {
        for port in [free_port(), odd, resetting] {
            let (app, mesh) = (app().await, Mesh::new());
            let daprd = sidecar(&mesh, &app, &exporting(spoken, port, "")).start().await;
            for _ in 0..5 {
                assert_eq!(call(&daprd, &[]).await.status(), 200);
            }
            let exit = daprd.stop().await;
            assert_eq!(exit.code, Some(0), "{}", exit.stdout);
            let lost = exit.stdout.matches("spans are not exported to").count();
            assert_eq!(lost, 1, "the log tells it once: {}", exit.stdout);
        }
    }
    odd_task.abort();
    reset_task.abort();
}

/// What a collector refuses for now goes out again, what it refuses for good does not.
#[tokio::test(flavor = "multi_thread")]
async fn refused_spans() {
    for (spoken, refusal, is_again) in [
        (Spoken::Grpc, 14, true),
        (Spoken::Grpc, 3, false),
        (Spoken::Http, 503, true),
        (Spoken::Http, 400, false),
        (Spoken::Zipkin, 200, false),
    ] {
        let answer = move |before| {
            (before == 0).then(|| {
                if spoken == Spoken::Grpc {
                    return grpc(refusal);
                }
                text(refusal as u16, "no")
            })
        };
        let (collector, app, mesh) = (
            Collector::answering(spoken, answer).await,
            app().await,
            Mesh::new(),
        );
        let daprd = sidecar(&mesh, &app, &exporting(spoken, collector.port, ""))
            .start()
            .await;
        call(&daprd, &[]).await;
        collector.await_spans(1).await;
        if is_again {
            let spans = collector.await_spans(2).await;
            assert_eq!(spans[0], spans[1]);
            assert!(!daprd.log().contains("are lost"));
        } else {
            daprd.await_log("1 of them are lost").await;
            call(&daprd, &[]).await;
            let spans = collector.await_spans(2).await;
            assert_ne!(spans[0], spans[1], "{spoken:?}: a new span, not the old one");
            daprd.await_log("spans are exported to").await;
        }
    }
}

/// What callers say about traces decides about nothing but traces.
#[tokio::test(flavor = "multi_thread")]
async fn odd_contexts() {
    let (collector, app, mesh) = (Collector::start(Spoken::Grpc).await, app().await, Mesh::new());
    let daprd = sidecar(&mesh, &app, &exporting(Spoken::Grpc, collector.port, ""))
        .arg("--dapr-http-read-buffer-size=64")
        .start()
        .await;
    let long = "x".repeat(16_000);
    let (long_state, many_states) = (
        format!("a={}", &long[..250]),
        (0..33)
            .map(|key| format!("k{key}=1"))
            .collect::<Vec<_>>()
            .join(","),
    );
    let mut count = 0;
    for (parent, state, is_child, given) in [
        (PARENT, "a=b", true, "a=b"),
        (PARENT, &long_state, true, &long_state),
        (PARENT, &many_states, true, ""),
        (PARENT, "junk", true, ""),
        (PARENT, "a=1,a=2", true, ""),
        ("junk", "a=b", false, ""),
        ("", "a=b", false, ""),
        (&long, &long, false, ""),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "a=b",
            false,
            "",
        ),
        (
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "a=b",
            false,
            "",
        ),
        (
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "a=b",
            false,
            "",
        ),
        ("\u{e9}\u{e9}", "\u{e9}=b", false, ""),
    ] {
        let answer = call(&daprd, &[("traceparent", parent), ("tracestate", state)]).await;
        assert_eq!(answer.status(), 200);
        let state = answer.headers().get("tracestate");
        assert_eq!(state.map_or("", |state| state.to_str().unwrap()), given);
        count += 1;
        let spans = collector.await_spans(count).await;
        let span = &spans[count - 1];
        assert_eq!(span.parent == "00f067aa0ba902b7", is_child, "{parent:?}");
        assert_eq!(span.trace == PARENT[3..35], is_child, "{parent:?}");
        assert_eq!(span.state, given);
    }
    for baggage in [
        "junk",
        "=",
        &format!("a={}", "x".repeat(9000)),
        &"a=1,".repeat(70),
    ] {
        let answer = call(&daprd, &[("baggage", baggage)]).await;
        assert_eq!(answer.status(), 400);
    }
    // Many long attributes are a matter of the queue, not of the memory.
    let answer = call(&daprd, &[("dapr-a", &long), ("dapr-b", &long)]).await;
    assert_eq!(answer.status(), 200);
    let spans = collector.await_spans(count + 1).await;
    assert_eq!(spans[count].attributes["dapr-a"], long);
    assert_eq!(daprd.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up() {
    let (collector, mesh) = (Collector::start(Spoken::Grpc).await, Mesh::new());
    let app = HttpApp::start(Protocol::Http, |request| async move {
        if request.uri().path() == "/m" {
            std::future::pending::<()>().await;
        }
        text(200, "")
    })
    .await;
    let daprd = sidecar(&mesh, &app, &exporting(Spoken::Grpc, collector.port, ""))
        .start()
        .await;
    let client = reqwest::Client::builder()
        .timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    assert!(client.get(daprd.invoke_url("a", "m")).send().await.is_err());
    let spans = collector.await_spans(1).await;
    assert_eq!((spans[0].is_error, &*spans[0].error), (true, "context canceled"));
    assert_eq!(spans[0].attributes.get("dapr.status_code"), None);
}
