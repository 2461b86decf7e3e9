//! A log that nobody reads: calls go on, and what is lost is told.

use futures_util::future::join_all;
use integration_tests::{LogReader, Mesh, RawClient};

use crate::stage::soon;

const CLIENTS: usize = 12;
/// More lines than may wait, and than the pipe holds.
const CALLS: usize = 1500;

/// Each call is a line of the log.
async fn calls(port: u16, count: usize) {
    let clients = (0..CLIENTS).map(|_| async {
        let mut client = RawClient::connect(port).await;
        for _ in 0..count {
            client.send("GET /v1.0/healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert_eq!(client.receive().await.expect("an answer").status(), 204);
        }
    });
    join_all(clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_of_the_log_holds_no_call_up() {
    let mesh = Mesh::new();
    let mut sidecar = mesh
        .sidecar("quiet")
        .log_level("info")
        .arg("--enable-api-logging")
        .log_reader(LogReader::Stalls)
        .start()
        .await;
    soon(
        "calls while nobody reads the log",
        calls(sidecar.http_port, CALLS),
    )
    .await;
    assert_eq!(sidecar.log(), "");

    sidecar.read_log();
    sidecar.await_log("lines of the log are lost here").await;
    let exit = sidecar.stop().await;
    assert_eq!(exit.code, Some(0));
    let log = exit.stdout;
    assert!(
        log.contains("Starting Dapr Runtime"),
        "what was in the pipe is there"
    );
    assert!(log.lines().last().unwrap().contains("Daprd shutdown gracefully"));
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("are lost here"))
        .collect();
    let lost: usize = told
        .iter()
        .map(|line| line.split("msg=\"").nth(1).unwrap().split(' ').next().unwrap())
        .map(|count| count.parse::<usize>().unwrap())
        .sum();
    let written = log.matches("msg=\"HTTP API Called\"").count();
    assert!(
        written + lost >= CLIENTS * CALLS,
        "{written} written, {lost} lost"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_ends_although_nobody_reads_its_log() {
    let mesh = Mesh::new();
    let sidecar = mesh
        .sidecar("quiet")
        .log_level("info")
        .arg("--enable-api-logging")
        .log_reader(LogReader::Stalls)
        .start()
        .await;
    calls(sidecar.http_port, 100).await;
    assert_eq!(sidecar.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_standard_output_stops_nothing() {
    let mesh = Mesh::new();
    let sidecar = mesh
        .sidecar("quiet")
        .arg("--enable-api-logging")
        .log_reader(LogReader::Closes)
        .start()
        .await;
    soon("calls without a log", calls(sidecar.http_port, 100)).await;
    assert_eq!(sidecar.stop().await.code, Some(0));
}
