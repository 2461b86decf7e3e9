//! How long the balancer takes with very many endpoints: `cargo run --release -p invoke-core --example balancer_speed`,
//! with `-- --quick` only whether it can be measured.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use invoke_core::balance::{Endpoint, watched};

const ENDPOINTS: usize = 10_000;
const PICKS: u32 = 2_000_000;
const CHANGES: usize = 200;

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (picks, changes) = if is_quick { (100, 2) } else { (PICKS, CHANGES) };
    let (publisher, watch) = watched();
    let addresses: Vec<Endpoint> = (0..ENDPOINTS + changes)
        .map(|n| Endpoint::new(format!("10.{}.{}.{}:50002", n >> 16, (n >> 8) & 255, n & 255)))
        .collect();
    publisher.publish(addresses[..ENDPOINTS].iter().cloned());
    let begun = Instant::now();
    for _ in 0..picks {
        black_box(watch.pick(&[]));
    }
    println!("a pick from {ENDPOINTS}: {:?}", begun.elapsed() / picks);

    let of_changes = |publish: &dyn Fn(usize)| -> Duration {
        let begun = Instant::now();
        (1..=changes).for_each(publish);
        begun.elapsed() / changes as u32
    };
    let moved = of_changes(&|by| publisher.publish(addresses[by..][..ENDPOINTS].iter().cloned()));
    println!("a set in which every place changes, and one comes and one goes: {moved:?}");
    let swapped = of_changes(&|by| {
        let mut next = addresses[..ENDPOINTS].to_vec();
        next[by] = addresses[ENDPOINTS + by % 2].clone();
        publisher.publish(next);
    });
    println!("a set in which one place changes: {swapped:?}");
}
