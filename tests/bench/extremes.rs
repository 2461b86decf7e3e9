//! Large bodies and large crowds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;

use crate::app::{BenchApp, PIECE};
use crate::chain::{Chain, Running};
use crate::load::{Load, Oha};
use crate::options::Options;

const MIB: u64 = 1024 * 1024;
/// How long a large body may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A large body in one direction.
#[derive(Clone, Debug)]
pub(crate) struct LargeBody {
    /// MiB per second.
    pub(crate) speed: f64,
    /// By how much the resident memory of each sidecar grew at most, MiB; the caller's first.
    pub(crate) growth: Vec<f64>,
}

/// Many calls at once.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    /// How long it took until all had an answer.
    pub(crate) seconds: f64,
    /// The most calls that the app had at once; a sidecar may let fewer through at a time.
    pub(crate) most: usize,
    pub(crate) errors: u64,
    pub(crate) reasons: Vec<String>,
    /// By how much the resident memory of each sidecar grew at most, MiB; the caller's first.
    pub(crate) growth: Vec<f64>,
}

/// What a chain made of the extremes; each is measured with sidecars started anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extremes {
    pub(crate) upload: Option<Result<LargeBody, String>>,
    pub(crate) download: Option<Result<LargeBody, String>>,
    pub(crate) crowd: Option<Result<Crowd, String>>,
}

impl Extremes {
    /// Measures what the options ask for.
    pub(crate) async fn measure(chain: &Chain, oha: &Oha, options: &Options) -> Self {
        let large = options.large_body * MIB;
        let mut extremes = Self::default();
        if large > 0 {
            extremes.upload = Some(large_body(chain, options, large, Direction::Up).await);
            extremes.download = Some(large_body(chain, options, large, Direction::Down).await);
        }
        if options.concurrent > 0 {
            extremes.crowd = Some(crowd(chain, oha, options).await);
        }
        extremes
    }

    /// The upload that went well.
    pub(crate) fn uploaded(&self) -> Option<&LargeBody> {
        self.upload.as_ref()?.as_ref().ok()
    }

    /// The download that went well.
    pub(crate) fn downloaded(&self) -> Option<&LargeBody> {
        self.download.as_ref()?.as_ref().ok()
    }

    /// The crowd that could be counted.
    pub(crate) fn crowded(&self) -> Option<&Crowd> {
        self.crowd.as_ref()?.as_ref().ok()
    }

    /// What went wrong, in words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (what, outcome) in [("upload", &self.upload), ("download", &self.download)] {
            if let Some(Err(problem)) = outcome {
                problems.push(format!("{what}: {problem}"));
            }
        }
        match &self.crowd {
            Some(Err(problem)) => problems.push(format!("many calls at once: {problem}")),
            Some(Ok(crowd)) if crowd.errors > 0 => problems.push(format!(
                "many calls at once: {} at most, errors: {}",
                crowd.most,
                crowd.reasons.join(", ")
            )),
            _ => {}
        }
        problems
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

async fn large_body(
    chain: &Chain,
    options: &Options,
    length: u64,
    direction: Direction,
) -> Result<LargeBody, String> {
    let app = BenchApp::start(options.body);
    let running = chain.start(&app, options).await?;
    let begun = Instant::now();
    let transfer = async {
        match direction {
            Direction::Up => upload(&running, &app, length).await,
            Direction::Down => download(&running, &app, length).await,
        }
    };
    tokio::time::timeout(PATIENCE, transfer)
        .await
        .map_err(|_| format!("incomplete after {} s", PATIENCE.as_secs()))??;
    let speed = (length / MIB) as f64 / begun.elapsed().as_secs_f64();
    let growth = growth(&running)?;
    running.stop().await;
    Ok(LargeBody { speed, growth })
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
        .post(running.url(app, "upload"))
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

async fn download(running: &Running, app: &BenchApp, length: u64) -> Result<(), String> {
    let url = format!("{}?{length}", running.url(app, "download"));
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

async fn crowd(chain: &Chain, oha: &Oha, options: &Options) -> Result<Crowd, String> {
    let calls = options.concurrent;
    let app = BenchApp::start(options.body);
    let running = chain.start(&app, options).await?;
    let url = running.url(&app, "slow");
    let begun = Instant::now();
    let report = oha.run(&url, options.body, Load::Crowd { calls }).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let growth = growth(&running)?;
    let most = app.most_inside();
    running.stop().await;
    Ok(Crowd {
        seconds,
        most,
        errors: calls as u64 - report.calls.min(calls as u64),
        reasons: report.reasons,
        growth,
    })
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
