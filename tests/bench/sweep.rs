//! One round of one axis of one chain: every step of it, one after the other.

use crate::app::BenchApp;
use crate::axis::Axis;
use crate::chain::Chain;
use crate::extremes;
use crate::load::{Load, Oha};
use crate::measure::{self, Sample};
use crate::options::Options;

/// What was measured at each step, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) steps: Vec<(usize, Sample)>,
    pub(crate) problems: Vec<String>,
}

/// Measures all steps. Every second round goes down instead of up, so that a machine that becomes slower or faster
/// meanwhile does not look like a slope.
pub(crate) async fn round(axis: Axis, number: usize, chain: &Chain, oha: &Oha, options: &Options) -> Swept {
    if axis == Axis::Connections {
        return match connections(axis, chain, options).await {
            Ok(steps) => Swept {
                steps,
                problems: Vec::new(),
            },
            Err(problem) => Swept {
                steps: Vec::new(),
                problems: vec![problem],
            },
        };
    }
    let mut order = axis.steps().to_vec();
    if number % 2 == 1 {
        order.reverse();
    }
    let mut swept = Swept::default();
    for step in order {
        match load(axis, step, chain, oha, options).await {
            Ok(sample) => {
                let problems = sample.problems.iter();
                swept
                    .problems
                    .extend(problems.map(|problem| format!("at {step}, {problem}")));
                swept.steps.push((step, sample));
            }
            Err(problem) => {
                // What fails at one step mostly fails at all, and takes its time.
                swept.problems.push(format!("at {step}: {problem}"));
                break;
            }
        }
    }
    swept
}

/// A closed loop through hops that were started for it.
async fn load(
    axis: Axis,
    step: usize,
    chain: &Chain,
    oha: &Oha,
    options: &Options,
) -> Result<Sample, String> {
    let app = BenchApp::start(options.body);
    let scene = axis.scene();
    let running = chain.start_with(scene, &app, options, axis.setting(step)).await?;
    let mut sample = Sample::default();
    sample.put_process(&running);
    let at_once = axis.at_once(step, options);
    let closed = |seconds| Load::Closed { at_once, seconds };
    if options.warm_up > 0 {
        measure::run(&running, scene, oha, options, closed(options.warm_up)).await?;
    }
    let before = app.served();
    let loaded = measure::measured(&running, scene, oha, options, closed(options.seconds)).await?;
    let answered = loaded.report.calls;
    sample.put_loaded(&running, loaded)?;
    let served = app.served() - before;
    if served < answered {
        let text = format!("{answered} calls were answered, but the app was asked {served} times");
        sample.problems.push(text);
    }
    running.stop().await;
    Ok(sample)
}

/// Memory while connections come, in the same processes.
async fn connections(axis: Axis, chain: &Chain, options: &Options) -> Result<Vec<(usize, Sample)>, String> {
    let app = BenchApp::start(options.body);
    let running = chain.start(axis.scene(), &app, options).await?;
    let mut connections = Vec::new();
    let mut steps = Vec::new();
    for step in axis.steps() {
        while connections.len() < *step {
            connections.push(extremes::called(&running, options.body).await?);
        }
        tokio::time::sleep(extremes::REST).await;
        let mut sample = Sample::default();
        sample.put_resting(&running)?;
        steps.push((*step, sample));
    }
    drop(connections);
    running.stop().await;
    Ok(steps)
}
