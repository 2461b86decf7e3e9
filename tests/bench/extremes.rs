//! Large bodies, large crowds, and connections that do nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{BenchApp, PIECE};
use crate::chain::{Chain, Running};
use crate::kind::{Scene, Speech};
use crate::load::{Call, Load, Oha};
use crate::measure::Sample;
use crate::options::Options;

const MIB: u64 = 1024 * 1024;
/// How long a large body may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Connections are idle when nothing happened for so long: sidecars may give buffers back after a while.
pub(crate) const REST: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// A large body each way, with hops started anew for each.
pub(crate) async fn large_body(chain: &Chain, options: &Options) -> Result<Sample, String> {
    let mut sample = Sample::default();
    for (direction, key, growths) in [
        (
            Direction::Up,
            "upload_mib_per_second",
            ["upload_growth_mib_caller", "upload_growth_mib_callee"],
        ),
        (
            Direction::Down,
            "download_mib_per_second",
            ["download_growth_mib_caller", "download_growth_mib_callee"],
        ),
    ] {
        let (speed, growth) = transfer(chain, options, direction).await?;
        sample.put(key, speed);
        sample.put_each(growths, &growth);
    }
    Ok(sample)
}

/// One large body: MiB per second, and by how much each hop grew at most, MiB.
async fn transfer(chain: &Chain, options: &Options, direction: Direction) -> Result<(f64, Vec<f64>), String> {
    let length = options.large_body * MIB;
    let app = BenchApp::start(options.body);
    let running = chain.start(Scene::LargeBody, &app, options).await?;
    let begun = Instant::now();
    let transfer = async {
        match direction {
            Direction::Up => upload(&running, &app, length).await,
            Direction::Down => download(&running, length).await,
        }
    };
    tokio::time::timeout(PATIENCE, transfer)
        .await
        .map_err(|_| format!("incomplete after {} s", PATIENCE.as_secs()))??;
    let speed = options.large_body as f64 / begun.elapsed().as_secs_f64();
    let growth = growth(&running)?;
    running.stop().await;
    Ok((speed, growth))
}

async fn upload(running: &Running, app: &BenchApp, length: u64) -> Result<(), String> {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(4);
    let feeder = tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; PIECE]);
        let mut left = length;
        while left > 0 {
            let next = piece.slice(..left.min(PIECE as u64) as usize);
            left -= next.len() as u64;
            if sender.send_data(next).await.is_err() {
                return;
            }
        }
    });
    let request = reqwest::Client::new()
        .post(running.url("upload"))
        .body(reqwest::Body::wrap_stream(body.into_data_stream()));
    let answer = request.send().await;
    feeder.abort();
    let received = app.received();
    let answer = answer.map_err(|error| format!("{error} (the app received {received} bytes)"))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    if status == 200 && text == length.to_string() {
        return Ok(());
    }
    let text: String = text.chars().take(200).collect();
    Err(format!("{status}: {text} (the app received {received} bytes)"))
}

async fn download(running: &Running, length: u64) -> Result<(), String> {
    let url = format!("{}?{length}", running.url("download"));
    let mut answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let mut came = 0;
    while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
        came += piece.len() as u64;
    }
    if status == 200 && came == length {
        return Ok(());
    }
    Err(format!("{status}, {came} bytes of {length}"))
}

/// Many calls at once.
pub(crate) async fn crowd(chain: &Chain, oha: &Oha, options: &Options) -> Result<Sample, String> {
    let calls = options.concurrent;
    let app = BenchApp::start(options.body);
    let running = chain.start(Scene::Crowd, &app, options).await?;
    let call = Call::of(&running, "slow", Speech::Http, options.body);
    let begun = Instant::now();
    let report = oha.run(&call, Load::Crowd { calls }).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let growth = growth(&running)?;
    let most = app.most_inside();
    running.stop().await;
    let errors = calls as u64 - report.calls.min(calls as u64);
    let mut sample = Sample::default();
    sample.put("crowd_seconds", seconds);
    // A sidecar may let fewer through at a time.
    sample.put("crowd_at_once", most as f64);
    sample.put("crowd_errors", errors as f64);
    sample.put_each(["crowd_growth_mib_caller", "crowd_growth_mib_callee"], &growth);
    if errors > 0 {
        sample
            .problems
            .push(format!("{most} at once at most: {}", report.reasons.join(", ")));
    }
    Ok(sample)
}

/// Opens connections, makes one call on each, and leaves them alone.
pub(crate) async fn idle_connections(chain: &Chain, options: &Options) -> Result<Sample, String> {
    let app = BenchApp::start(options.body);
    let running = chain.start(Scene::IdleConnections, &app, options).await?;
    let mut connections = Vec::with_capacity(options.idle);
    for _ in 0..options.idle {
        connections.push(called(&running, options.body).await?);
    }
    tokio::time::sleep(REST).await;
    let after = running.memory()?;
    let growth: Vec<_> = running
        .idle
        .iter()
        .zip(&after)
        .map(|(before, after)| {
            let grown = after.now.saturating_sub(before.now) as f64 / MIB as f64;
            grown * 1000.0 / options.idle as f64
        })
        .collect();
    drop(connections);
    running.stop().await;
    let mut sample = Sample::default();
    sample.put_each(
        ["idle_mib_per_thousand_caller", "idle_mib_per_thousand_callee"],
        &growth,
    );
    Ok(sample)
}

/// A connection on which one call was answered.
pub(crate) async fn called(running: &Running, length: usize) -> Result<TcpStream, String> {
    let port = running.port();
    let calling = async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        let path = running.path("fixed");
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            if let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n")
                && answer.len() >= head + 4 + length
            {
                return std::io::Result::Ok((socket, answer));
            }
            if socket.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    let (socket, answer) = tokio::time::timeout(PATIENCE, calling)
        .await
        .map_err(|_| "a call without an answer".to_owned())?
        .map_err(|error| format!("an idle connection: {error}"))?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(socket);
    }
    let text: String = String::from_utf8_lossy(&answer).chars().take(200).collect();
    Err(format!("an idle connection: {text}"))
}

fn growth(running: &Running) -> Result<Vec<f64>, String> {
    let after = running.memory()?;
    let growth = running
        .idle
        .iter()
        .zip(&after)
        .map(|(idle, after)| after.peak.saturating_sub(idle.now) as f64 / MIB as f64);
    Ok(growth.collect())
}
