//! What goes wrong, and when.

use std::time::{Duration, Instant};

use fastrand::Rng;

use integration_tests::Instances;

/// Takes instances down and up again, one after the other, until `end`; tells how often.
pub(crate) async fn make(mut groups: [Instances; 2], end: Instant, seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut events = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.u64(200..2000))).await;
        let group = &mut groups[random.usize(..2)];
        let at = random.usize(..group.count());
        match random.u8(..3) {
            0 => group.kill(at).await,
            1 => group.stop(at).await,
            _ => group.drop_app(at),
        }
        events += 1;
        tokio::time::sleep(Duration::from_millis(random.u64(..500))).await;
        group.restore(at).await;
    }
    for group in &mut groups {
        group.stop_all().await;
    }
    events
}
