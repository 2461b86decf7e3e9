//! Many series, and scrapers that do not read what they asked for.

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::scrape;

const PATHS: usize = 400;
const SCRAPERS: usize = 40;

async fn call(daprd: &Daprd, method: &str) {
    let answer = reqwest::get(daprd.invoke_url("a", method)).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
}

async fn call_numbered(daprd: &Daprd, number: usize) {
    call(daprd, &format!("p{number}")).await;
}

/// Asks for the metrics, and reads no more than the first byte of them.
async fn ask(port: u16) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    socket.read_exact(&mut [0]).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapers_that_do_not_read_hold_nothing_up() {
    let mesh = Mesh::new();
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let daprd = mesh.sidecar("a").app_port(app.port).start().await;
    let calls = stream::iter(0..PATHS).map(|path| call_numbered(&daprd, path));
    calls.buffer_unordered(16).collect::<Vec<()>>().await;
    let whole = scrape(&daprd).await;
    let series = whole.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series > 10_000, "{series}");
    let before = daprd.resident_bytes();
    let mut scrapers = Vec::new();
    for _ in 0..SCRAPERS {
        scrapers.push(ask(daprd.metrics_port).await);
    }
    let grown = daprd.resident_bytes().saturating_sub(before);
    let all = (SCRAPERS * whole.len()) as u64;
    assert!(
        grown < all / 3,
        "{grown} bytes for {SCRAPERS} scrapers of {}",
        whole.len()
    );
    // Whoever reads gets all of it, and calls go on, also while many are scraping.
    let scraped = join_all((0..3).map(|_| scrape(&daprd)));
    let called = join_all((0..50).map(|number| call_numbered(&daprd, number)));
    let (scraped, _) = tokio::join!(scraped, called);
    for text in scraped {
        assert!(
            text.ends_with('\n') && text.len() >= whole.len() / 2,
            "{} of {}: …{:?}",
            text.len(),
            whole.len(),
            text.get(text.len().saturating_sub(80)..)
        );
    }
    // The oldest of the others are told that theirs is not whole.
    let mut first = scrapers.swap_remove(0);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(integration_tests::PATIENCE, first.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.len() < whole.len(), "{}", rest.len());
}
