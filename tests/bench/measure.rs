//! One round of one scene of one chain.

use std::collections::BTreeMap;

use crate::app::BenchApp;
use crate::chain::{Chain, Running};
use crate::kind::{Scene, Speech};
use crate::load::{Call, Load, Oha, Report};
use crate::options::Options;
use crate::process::Memory;
use crate::{callers, extremes};

const MIB: f64 = 1024.0 * 1024.0;

/// What one round measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Figures by the keys of the module `figures`.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// What went wrong, in words.
    pub(crate) problems: Vec<String>,
}

impl Sample {
    pub(crate) fn put(&mut self, key: &'static str, value: f64) {
        self.figures.insert(key, value);
    }

    /// One figure for each hop, the caller's first.
    pub(crate) fn put_each(&mut self, keys: [&'static str; 2], values: &[f64]) {
        self.figures.extend(keys.into_iter().zip(values.iter().copied()));
    }

    pub(crate) fn put_process(&mut self, running: &Running) {
        let start_up: Vec<_> = running
            .start_up
            .iter()
            .map(|took| took.as_secs_f64() * 1000.0)
            .collect();
        self.put_each(["start_up_ms_caller", "start_up_ms_callee"], &start_up);
        let idle = mebibytes(&running.idle, |memory| memory.now);
        self.put_each(["rss_idle_mib_caller", "rss_idle_mib_callee"], &idle);
    }

    /// What a closed loop brought, and the peak of the memory since the start.
    pub(crate) fn put_loaded(&mut self, running: &Running, loaded: Loaded) -> Result<(), String> {
        let peak = mebibytes(&running.memory()?, |memory| memory.peak);
        self.put_each(["rss_loaded_mib_caller", "rss_loaded_mib_callee"], &peak);
        self.put_load(&CLOSED, loaded);
        Ok(())
    }

    /// The memory that is resident now.
    pub(crate) fn put_resting(&mut self, running: &Running) -> Result<(), String> {
        let now = mebibytes(&running.memory()?, |memory| memory.now);
        self.put_each(["rss_resting_mib_caller", "rss_resting_mib_callee"], &now);
        Ok(())
    }

    fn put_load(&mut self, keys: &LoadKeys, loaded: Loaded) {
        let Loaded { report, cpu } = loaded;
        self.put(keys.per_second, report.per_second);
        for (key, value) in keys
            .percentiles
            .into_iter()
            .zip([report.p50, report.p90, report.p99])
        {
            self.put(key, value);
        }
        self.put_each(keys.cpu, &cpu);
        if !cpu.is_empty() {
            self.put(keys.cpu_of_hop, cpu.iter().sum::<f64>() / cpu.len() as f64);
        }
        self.put(keys.errors, report.errors as f64);
        if report.errors > 0 {
            let reasons = report.reasons.join(", ");
            self.problems.push(format!("{}: {reasons}", keys.name));
        }
    }
}

/// The keys of the figures of one load.
struct LoadKeys {
    name: &'static str,
    per_second: &'static str,
    percentiles: [&'static str; 3],
    cpu: [&'static str; 2],
    cpu_of_hop: &'static str,
    errors: &'static str,
}

const CLOSED: LoadKeys = LoadKeys {
    name: "closed loop",
    per_second: "closed_calls_per_second",
    percentiles: ["closed_p50_ms", "closed_p90_ms", "closed_p99_ms"],
    cpu: ["closed_cpu_us_caller", "closed_cpu_us_callee"],
    cpu_of_hop: "closed_cpu_us",
    errors: "closed_errors",
};

const OPEN: LoadKeys = LoadKeys {
    name: "open loop",
    per_second: "open_calls_per_second",
    percentiles: ["open_p50_ms", "open_p90_ms", "open_p99_ms"],
    cpu: ["open_cpu_us_caller", "open_cpu_us_callee"],
    cpu_of_hop: "open_cpu_us",
    errors: "open_errors",
};

/// Starts the chain anew and measures one scene of it.
pub(crate) async fn round(
    scene: Scene,
    chain: &Chain,
    oha: &Oha,
    options: &Options,
) -> Result<Sample, String> {
    match scene {
        Scene::LargeBody => extremes::large_body(chain, options).await,
        Scene::IdleConnections => extremes::idle_connections(chain, options).await,
        Scene::Crowd => extremes::crowd(chain, oha, options).await,
        Scene::Start => start(chain, options).await,
        _ => load(scene, chain, oha, options).await,
    }
}

async fn start(chain: &Chain, options: &Options) -> Result<Sample, String> {
    let app = BenchApp::start(options.body);
    let running = chain.start(Scene::Start, &app, options).await?;
    let mut sample = Sample::default();
    sample.put_process(&running);
    running.stop().await;
    Ok(sample)
}

async fn load(scene: Scene, chain: &Chain, oha: &Oha, options: &Options) -> Result<Sample, String> {
    let app = BenchApp::start(options.body);
    let running = chain.start(scene, &app, options).await?;
    let mut sample = Sample::default();
    sample.put_process(&running);
    let at_once = options.connections;
    let closed = |seconds| Load::Closed { at_once, seconds };
    if options.warm_up > 0 {
        run(&running, scene, oha, options, closed(options.warm_up)).await?;
    }
    let before = app.served();
    let loaded = measured(&running, scene, oha, options, closed(options.seconds)).await?;
    let mut answered = loaded.report.calls;
    sample.put_loaded(&running, loaded)?;
    let open = Load::Open {
        at_once,
        seconds: options.seconds,
        rate: options.rate,
    };
    let loaded = measured(&running, scene, oha, options, open).await?;
    answered += loaded.report.calls;
    sample.put_load(&OPEN, loaded);
    // The load looks at the status of HTTP alone. That of gRPC cannot be good if the app was never asked.
    let served = app.served() - before;
    if scene != Scene::GrpcStream && served < answered {
        let text = format!("{answered} calls were answered, but the app was asked {served} times");
        sample.problems.push(text);
    }
    running.stop().await;
    Ok(sample)
}

/// A load, and the CPU time that each hop spent on one of its calls, in microseconds.
pub(crate) struct Loaded {
    pub(crate) report: Report,
    cpu: Vec<f64>,
}

pub(crate) async fn measured(
    running: &Running,
    scene: Scene,
    oha: &Oha,
    options: &Options,
    load: Load,
) -> Result<Loaded, String> {
    let before = running.cpu_time()?;
    let report = run(running, scene, oha, options, load).await?;
    let after = running.cpu_time()?;
    let per_call = before.iter().zip(&after).map(|(before, after)| {
        let spent = after.saturating_sub(*before);
        spent.as_secs_f64() * 1e6 / report.calls.max(1) as f64
    });
    let cpu = per_call.collect();
    Ok(Loaded { report, cpu })
}

pub(crate) async fn run(
    running: &Running,
    scene: Scene,
    oha: &Oha,
    options: &Options,
    load: Load,
) -> Result<Report, String> {
    if matches!(
        scene,
        Scene::GrpcStream | Scene::InvokeHttpApp | Scene::InvokeGrpcApp
    ) {
        return callers::run(running, options.body, load).await;
    }
    let door: Speech = scene.door();
    let call = Call::of(running, "fixed", door, options.body);
    oha.run(&call, load).await
}

fn mebibytes(of_each: &[Memory], which: impl Fn(&Memory) -> u64) -> Vec<f64> {
    of_each.iter().map(|memory| which(memory) as f64 / MIB).collect()
}
