//! What happens, and when.

use std::fmt::Write as _;
use std::time::Duration;

use fastrand::Rng;
use integration_tests::{DaprdBuilder, Instances, Mesh, Protocol};
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until};

use crate::apps::{COUNT, Mood, Moods};
use crate::calls;
use crate::link::Link;
use crate::options::{Binary, Options};
use crate::report::Report;

/// The app that is called.
const APP: &str = "chaos-app";

/// One kind of misfortune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// SIGKILL for a sidecar, and a new one in its place.
    SidecarKilled,
    /// SIGSTOP for a sidecar, and SIGCONT later.
    SidecarStalled,
    /// Nothing gets from the caller's sidecar to one of the others and back, and neither is told.
    Partitioned,
    /// The app is gone with all its connections; its sidecar is there.
    AppKilled,
    /// The app takes calls and answers none.
    AppStalled,
    /// The app takes a hundred times as long as the others.
    AppSlow,
    /// One instance after the other is stopped by SIGTERM and started again.
    Rolled,
}

impl Scene {
    pub(crate) const ALL: [Self; 7] = [
        Self::SidecarKilled,
        Self::SidecarStalled,
        Self::Partitioned,
        Self::AppKilled,
        Self::AppStalled,
        Self::AppSlow,
        Self::Rolled,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SidecarKilled => "sidecar-killed",
            Self::SidecarStalled => "sidecar-stalled",
            Self::Partitioned => "partitioned",
            Self::AppKilled => "app-killed",
            Self::AppStalled => "app-stalled",
            Self::AppSlow => "app-slow",
            Self::Rolled => "rolled",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|scene| scene.name() == name)
            .ok_or_else(|| format!("there is no scene {name:?}; there are {}", all()))
    }

    /// Whether every call can be answered: who stalls has calls that nobody may repeat without having been asked to.
    pub(crate) fn loses_nothing(self) -> bool {
        matches!(self, Self::AppKilled | Self::AppSlow | Self::Rolled)
    }
}

/// Plays a scene: calm, the misfortune after a quarter of the time, its end after the half.
pub(crate) async fn play(scene: Scene, binary: &Binary, options: &Options) -> Report {
    let mesh = Mesh::new();
    let args = if options.by_mdns { Vec::new() } else { mesh.args() };
    // A network that can multicast may have others who call their apps the same.
    let app = format!("{APP}-{}-{}", std::process::id(), options.seed);
    let sidecar = |id: &str| {
        let sidecar = DaprdBuilder::new(id).binary(&binary.path).log_level("error");
        args.iter().fold(sidecar, DaprdBuilder::arg)
    };
    let moods = Moods::default();
    let of_apps = moods.clone();
    let work = move |at, _| of_apps.clone().work(at);
    let instances = Instances::start(COUNT, Protocol::Http, sidecar(&app), work).await;
    // What finds the instances on its own, and what finds them behind links.
    let near = Mesh::new();
    let mut caller = match scene {
        Scene::Partitioned => {
            let caller = DaprdBuilder::new("chaos-caller").binary(&binary.path);
            near.args()
                .into_iter()
                .fold(caller.log_level("error"), DaprdBuilder::arg)
        }
        _ => sidecar("chaos-caller"),
    };
    if let Some(policy) = policy(&app, options) {
        let folder = mesh.folder().join("resources");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("policy.yaml"), policy).expect("a policy");
        caller = caller.arg(format!("--resources-path={}", folder.display()));
    }
    let caller = caller.start().await;
    let mut links = Vec::new();
    if scene == Scene::Partitioned {
        for at in 0..instances.count() {
            let link = Link::to(instances.internal_port(at)).await;
            near.register(&app, link.port);
            links.push(link);
        }
    }
    let url = caller.invoke_url(&app, "work");
    calls::warm_up(&url).await;
    let at = Rng::with_seed(options.seed).usize(..instances.count());
    let begun = Instant::now();
    let made = tokio::spawn(calls::make(url, options.rate, options.length));
    let (trouble, relief) = (options.length / 4, options.length / 2);
    let mut stage = Stage {
        instances,
        moods,
        links,
    };
    sleep_until(begun + trouble).await;
    happen(scene, &mut stage, at).await;
    let mut over = begun.elapsed();
    if scene != Scene::Rolled {
        sleep_until(begun + relief).await;
        over = relief;
        end(scene, &mut stage, at).await;
    }
    let made = made.await.expect("the calls end");
    caller.stop().await;
    stage.instances.stop_all().await;
    Report::of(made, trouble, (over <= options.length).then_some(over))
}

/// What is called, and what stands in between.
struct Stage {
    instances: Instances,
    moods: Moods,
    /// One for each instance, where there may be a partition.
    links: Vec<Link>,
}

async fn happen(scene: Scene, stage: &mut Stage, at: usize) {
    let Stage {
        instances,
        moods,
        links,
    } = stage;
    match scene {
        Scene::Partitioned => links[at].cut(true),
        Scene::SidecarKilled => instances.kill(at).await,
        Scene::SidecarStalled => instances.signal(at, Signal::STOP),
        Scene::AppKilled => instances.drop_app(at),
        Scene::AppStalled => moods.set(at, Mood::Mute),
        Scene::AppSlow => moods.set(at, Mood::Slow),
        Scene::Rolled => {
            for at in 0..instances.count() {
                instances.stop(at).await;
                instances.restore(at).await;
                // As platforms do: the next one goes when this one is ready and was seen.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn end(scene: Scene, stage: &mut Stage, at: usize) {
    let Stage {
        instances,
        moods,
        links,
    } = stage;
    match scene {
        Scene::Partitioned => links[at].cut(false),
        Scene::SidecarStalled => instances.signal(at, Signal::CONT),
        Scene::AppStalled | Scene::AppSlow => moods.set(at, Mood::Well),
        _ => instances.restore(at).await,
    }
}

fn policy(app: &str, options: &Options) -> Option<String> {
    if !options.has_retries && options.timeout.is_none() {
        return None;
    }
    let (mut policies, mut parts) = (String::new(), Vec::new());
    if options.has_retries {
        policies += "    retries:\n      thrice: {policy: constant, duration: 50ms, maxRetries: 3}\n";
        parts.push("retry: thrice");
    }
    if let Some(millis) = options.timeout {
        let _ = write!(policies, "    timeouts:\n      limit: {millis}ms\n");
        parts.push("timeout: limit");
    }
    Some(format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: chaos\nspec:\n  policies:\n{policies}\
         \x20 targets:\n    apps:\n      {app}: {{{}}}\n",
        parts.join(", ")
    ))
}
