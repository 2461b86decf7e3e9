//! How sidecars get to know of instances: two kinds of resolvers, one that is told and one that asks.

use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::{EndpointWatch, watched};
use invoke_core::{AppRef, Resolver};
use lifecycle::Tasks;
use name_resolution::simulate::LookedUp;
use tokio::time::sleep;

use crate::world::World;

/// For how long an answer of the simulated DNS is good: as in a cluster of Kubernetes.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// A look-up takes so long.
const LOOK_UP: Duration = Duration::from_millis(3);
/// What is told arrives within so many milliseconds.
const TOLD_WITHIN: u64 = 100;

/// How sidecars find instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Every change is told (mDNS, Consul, the API of Kubernetes).
    Told,
    /// They look up again and again (DNS).
    Asking,
}

impl Finding {
    /// The resolver of one sidecar.
    pub(crate) fn resolver(self, world: &Arc<World>, tasks: &Tasks) -> Arc<dyn Resolver> {
        let world = Arc::clone(world);
        match self {
            Self::Told => Arc::new(Told {
                world,
                tasks: tasks.clone(),
            }),
            Self::Asking => {
                let listed = world.listed().clone();
                Arc::new(LookedUp::new(tasks.clone(), move || {
                    world.tally().look_up(world.now());
                    let (listed, world) = (listed.clone(), Arc::clone(&world));
                    async move {
                        sleep(LOOK_UP).await;
                        world.tally().sets += 1;
                        let found = listed.get().to_vec();
                        Ok((found, GOOD_FOR))
                    }
                }))
            }
        }
    }
}

/// A resolver that is told.
struct Told {
    world: Arc<World>,
    tasks: Tasks,
}

impl Resolver for Told {
    fn watch(&self, _: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        let mut listed = self.world.listed().waiting();
        let world = Arc::clone(&self.world);
        self.tasks.spawn(async move {
            loop {
                sleep(Duration::from_millis(1 + fastrand::u64(..TOLD_WITHIN))).await;
                let now = listed.see();
                publisher.publish(now.iter().cloned());
                world.tally().sets += 1;
                tokio::select! {
                    biased;
                    () = publisher.closed() => return,
                    () = listed.changed() => {}
                }
            }
        });
        watch
    }
}
