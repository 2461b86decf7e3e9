//! Which endpoints are picked.

mod left_out;
mod load;
mod pace;
mod preferred;

use std::time::Duration;

use tokio::time::Instant;

use super::chance::{DRAWS, WINDOW};
use super::*;
use crate::balance::Endpoint;

fn set(weights: &[u32]) -> Set {
    let endpoints = weights.iter().enumerate().map(|(port, weight)| {
        let endpoint = Endpoint::new(format!("127.0.0.1:{port}"));
        let weight = NonZeroU32::new(*weight).unwrap();
        Slot::new(
            endpoint.with_weight(weight),
            Instant::now(),
            false,
            &Arc::default(),
        )
    });
    Set::new(endpoints.collect())
}

fn picked(set: &Set, tried: &[Tried]) -> Option<Picked> {
    set.pick(tried, &Preferences::default(), None)
}

fn fail(set: &Set, slot: usize) {
    set.slots[slot].state().fail(false);
}

fn address(picked: &Picked) -> &str {
    picked.endpoint().address()
}
