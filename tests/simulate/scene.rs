//! What happens, and when.

use std::sync::Arc;
use std::time::Duration;

use lifecycle::Tasks;
use tokio::time::{sleep, sleep_until, timeout};

use crate::callers::{self, Load};
use crate::instance::{Instance, PLACES, SERVICE};
use crate::names::Finding;
use crate::tally::Tally;
use crate::world::World;

/// How long is waited, after the last call was made, for those that have not ended.
const PATIENCE: Duration = Duration::from_secs(300);
/// All sidecars together make so many calls in a second at most: what one machine can simulate.
const MOST_CALLS: f64 = 20_000.0;
/// How soon those who watch over instances see that one died without a word.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// An instance that ends withdraws first, and stops to listen after so long.
const DRAIN: Duration = Duration::from_secs(1);

/// How many sidecars call how many instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) callers: usize,
    pub(crate) instances: usize,
}

impl Scale {
    pub(crate) const fn new(callers: usize, instances: usize) -> Self {
        Self { callers, instances }
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.callers, self.instances)
    }
}

/// What a scene is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// All sidecars start at once and call at once, before most instances listen.
    Start,
    /// The same, with a resolver that looks up again and again.
    StartAsking,
    /// Each instance is replaced, in an orderly way.
    Rolling,
    /// A tenth of the instances dies within a minute and is replaced by others.
    Churn,
    /// A third of all nodes is apart from the others for half a minute.
    Partition,
    /// Three equal instances.
    Equal,
    /// One of three instances is ten times slower for a minute.
    Slow,
    /// One of three instances refuses all connections for half a minute.
    Refusing,
    /// Twice as many calls come as the instances can do.
    Overload,
    /// Each sidecar calls a part of the instances alone, and each instance is replaced.
    Part,
}

/// A scene with its times, in seconds after the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) scale: Scale,
    pub(crate) load: Load,
    places: usize,
    /// From when to when something is wrong.
    pub(crate) trouble: (u64, u64),
    pub(crate) end: u64,
}

impl Scene {
    pub(crate) const ALL: [Self; 10] = [
        Self::Start,
        Self::StartAsking,
        Self::Rolling,
        Self::Churn,
        Self::Partition,
        Self::Equal,
        Self::Slow,
        Self::Refusing,
        Self::Overload,
        Self::Part,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::StartAsking => "start-asking",
            Self::Rolling => "rolling",
            Self::Churn => "churn",
            Self::Partition => "partition",
            Self::Equal => "equal",
            Self::Slow => "slow",
            Self::Refusing => "refusing",
            Self::Overload => "overload",
            Self::Part => "part",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scene| scene.name() == name);
        found.ok_or_else(|| format!("there is no scene {name:?}"))
    }

    /// The scene at a scale. Where three instances are wanted, there are three.
    pub(crate) fn plan(self, scale: Scale) -> Plan {
        let Scale { callers, instances } = scale;
        let instances = match self {
            Self::Equal | Self::Slow | Self::Refusing => 3,
            _ => instances,
        };
        let (trouble, end) = match self {
            Self::Start => ((0, 3), 40),
            Self::StartAsking => ((0, 3), 60),
            Self::Rolling | Self::Churn | Self::Part => ((20, 80), 100),
            Self::Partition | Self::Refusing => ((20, 50), 120),
            Self::Equal => ((0, 0), 60),
            Self::Slow => ((0, 60), 120),
            Self::Overload => ((20, 40), 80),
        };
        // Of three instances each sidecar is to know something; of many, each is to have some calls.
        let total = match self {
            Self::Equal | Self::Slow | Self::Refusing => 10.0 * callers as f64,
            // An instance works at one call, so it can do fifty in a second.
            Self::Overload => 25.0 * instances as f64,
            _ => (10 * callers.max(instances)).min(40 * instances) as f64,
        };
        let is_start = matches!(self, Self::Start | Self::StartAsking);
        Plan {
            scale: Scale { callers, instances },
            load: Load {
                callers,
                rate: total.min(MOST_CALLS) / callers as f64,
                burst: if is_start { 5 } else { 0 },
                part: (self == Self::Part).then(|| part(callers, instances)),
                finding: if self == Self::StartAsking {
                    Finding::Asking
                } else {
                    Finding::Told
                },
            },
            places: match self {
                Self::Overload => 1,
                Self::Equal | Self::Slow | Self::Refusing => usize::MAX,
                _ => PLACES,
            },
            trouble,
            end,
        }
    }

    /// The instances that are in trouble all together, whose share of the calls is looked at.
    pub(crate) fn troubled(self) -> Option<usize> {
        matches!(self, Self::Slow | Self::Refusing).then_some(0)
    }

    /// Makes happen what happens.
    async fn play(self, plan: &Plan, world: &Arc<World>, others: &Tasks) {
        let (begin, end) = (world.at(plan.trouble.0), world.at(plan.trouble.1));
        match self {
            Self::Equal => {}
            Self::Start | Self::StartAsking => {
                for instance in world.instances() {
                    instance.refuse();
                    let world = Arc::clone(world);
                    let after = Duration::from_millis(fastrand::u64(..plan.trouble.1 * 1000));
                    others.spawn(async move {
                        sleep(after).await;
                        instance.rise(world.now());
                    });
                }
            }
            Self::Rolling | Self::Part => self.replace(plan, plan.scale.instances, world, others).await,
            Self::Churn => {
                let minutes = (plan.trouble.1 - plan.trouble.0) as f64 / 60.0;
                let count = (plan.scale.instances as f64 * minutes / 10.0).ceil() as usize;
                self.replace(plan, count, world, others).await;
            }
            Self::Partition => {
                sleep_until(begin).await;
                world.cut();
                sleep_until(end).await;
                world.join();
            }
            Self::Slow => {
                let slow = world.instance(0);
                slow.ail();
                slow.slow_down(10);
                sleep_until(end).await;
                slow.heal(world.now());
            }
            Self::Refusing => {
                sleep_until(begin).await;
                let refusing = world.instance(0);
                refusing.refuse();
                sleep_until(end).await;
                refusing.rise(world.now());
            }
            Self::Overload => {
                sleep_until(begin).await;
                world.set_load(4.0);
                sleep_until(end).await;
                world.set_load(1.0);
            }
        }
    }

    /// So many instances end one after the other, evenly over the time of the trouble.
    async fn replace(self, plan: &Plan, count: usize, world: &Arc<World>, others: &Tasks) {
        let (begin, end) = plan.trouble;
        let pause = Duration::from_secs(end - begin) / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        sleep_until(world.at(begin)).await;
        for (place, instance) in world.instances().into_iter().take(count).enumerate() {
            let own = Arc::clone(world);
            if matches!(self, Self::Rolling | Self::Part) {
                others.spawn(async move { roll(&own, &instance).await });
            } else {
                others.spawn(async move { die(&own, &instance).await });
            }
            sleep_until(world.at(begin) + pause * (place as u32 + 1)).await;
        }
    }
}

/// An instance ends in an orderly way, and comes back at the same address.
async fn roll(world: &World, instance: &Instance) {
    world.withdraw(instance);
    instance.ail();
    sleep(DRAIN).await;
    instance.refuse();
    sleep(Duration::from_secs(2)).await;
    instance.rise(world.now());
    world.list(instance);
}

/// An instance dies without a word. Another one takes its place, at another address.
async fn die(world: &World, instance: &Instance) {
    instance.die();
    let new = world.add(PLACES);
    new.ail();
    sleep(SEEN_WITHIN).await;
    world.withdraw(instance);
    new.heal(world.now());
    world.list(&new);
}

/// What came of a scene, before it is judged.
pub(crate) struct Played {
    pub(crate) plan: Plan,
    pub(crate) tally: Tally,
    /// Since when each instance is well, in milliseconds.
    pub(crate) well_since: Vec<Option<u64>>,
}

/// How many instances a sidecar calls that calls a part of them: a tenth, and enough for each instance to have fifty
/// callers, whose number varies by its square root. Half of them is enough as long as that makes twenty.
fn part(callers: usize, instances: usize) -> usize {
    let of_callers = |wanted: usize| wanted * instances / callers;
    let part = (instances / 10).max(of_callers(50));
    part.min((instances / 2).max(of_callers(20))).min(instances)
}

/// Plays a scene. All that happens depends on the seed alone.
pub(crate) fn play(scene: Scene, scale: Scale, seed: u64) -> std::io::Result<Played> {
    let plan = scene.plan(scale);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    fastrand::seed(seed);
    let played = runtime.block_on(async {
        let world = World::new(plan.scale.instances, plan.places);
        let (calls, others) = (Tasks::new(), Tasks::new());
        let end = world.at(plan.end);
        callers::start(&world, plan.load, end, &calls, &others);
        scene.play(&plan, &world, &others).await;
        sleep_until(end).await;
        // Whoever is still waiting then is lost, and counted as such.
        let _ = timeout(PATIENCE, calls.wait()).await;
        calls.abort_all();
        others.abort_all();
        let instances = world.instances();
        Played {
            plan,
            tally: std::mem::take(&mut *world.tally()),
            well_since: instances.iter().map(|one| one.well_since()).collect(),
        }
    });
    Ok(played)
}

/// What all instances can do in a second, when each of them works at one call.
pub(crate) fn capacity(instances: usize) -> f64 {
    instances as f64 * 1000.0 / (SERVICE + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn each_instance_of_a_part_has_callers() {
        for (callers, instances, wanted) in [
            (1000, 1000, 100),
            (100, 100, 50),
            (100, 10_000, 5000),
            (40, 20, 10),
            (10, 1000, 1000),
            (1, 3, 3),
        ] {
            assert_eq!(part(callers, instances), wanted, "{callers}x{instances}");
        }
    }
}
