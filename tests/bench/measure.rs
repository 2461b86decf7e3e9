//! One round of one chain.

use crate::app::BenchApp;
use crate::chain::{Chain, Running};
use crate::load::{Load, Oha, Report};
use crate::options::Options;

const MIB: f64 = 1024.0 * 1024.0;

/// What one round measured; the lists have one entry for each sidecar, the caller's first.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) closed: Report,
    pub(crate) open: Report,
    /// CPU time of a call in the closed loop, microseconds.
    pub(crate) cpu_closed: Vec<f64>,
    /// CPU time of a call in the open loop, microseconds.
    pub(crate) cpu_open: Vec<f64>,
    /// Milliseconds.
    pub(crate) start_up: Vec<f64>,
    /// MiB.
    pub(crate) idle: Vec<f64>,
    /// The peak under load, MiB.
    pub(crate) loaded: Vec<f64>,
}

/// Starts the chain anew and measures it.
pub(crate) async fn round(
    chain: &Chain,
    app: &BenchApp,
    oha: &Oha,
    options: &Options,
) -> Result<Round, String> {
    let running = chain.start(app, options).await?;
    let url = running.url(app, "fixed");
    let closed_loop = |seconds| Load::Closed {
        connections: options.connections,
        seconds,
    };
    let open_loop = |seconds| Load::Open {
        connections: options.connections,
        seconds,
        rate: options.rate,
    };
    if options.warm_up > 0 {
        oha.run(&url, options.body, closed_loop(options.warm_up)).await?;
    }
    let (closed, cpu_closed) = loaded(
        &running,
        oha.run(&url, options.body, closed_loop(options.seconds)),
    )
    .await?;
    let peak = running.memory()?;
    let (open, cpu_open) = loaded(&running, oha.run(&url, options.body, open_loop(options.seconds))).await?;
    let round = Round {
        closed,
        open,
        cpu_closed,
        cpu_open,
        start_up: running
            .start_up
            .iter()
            .map(|took| took.as_secs_f64() * 1000.0)
            .collect(),
        idle: running
            .idle
            .iter()
            .map(|memory| memory.now as f64 / MIB)
            .collect(),
        loaded: peak.iter().map(|memory| memory.peak as f64 / MIB).collect(),
    };
    running.stop().await;
    Ok(round)
}

/// A load, and the CPU time that each sidecar spent on one of its calls.
async fn loaded(
    running: &Running,
    load: impl Future<Output = Result<Report, String>>,
) -> Result<(Report, Vec<f64>), String> {
    let before = running.cpu_time()?;
    let report = load.await?;
    let after = running.cpu_time()?;
    let per_call = before.iter().zip(&after).map(|(before, after)| {
        let spent = after.saturating_sub(*before);
        spent.as_secs_f64() * 1e6 / report.calls.max(1) as f64
    });
    let per_call = per_call.collect();
    Ok((report, per_call))
}
