//! What is small enough to be played each time: in tests the program is not optimised.

use crate::report::Report;
use crate::scene::{Scale, Scene, play};
use crate::sizes;

const SEED: u64 = 7;

fn played(scene: Scene, scale: Scale, seed: u64) -> Report {
    Report::of(scene, &play(scene, scale, seed).unwrap())
}

#[track_caller]
fn holds(scene: Scene, scale: Scale) {
    let report = played(scene, scale, SEED);
    assert_eq!(
        report.problems,
        [""; 0],
        "seed {SEED}\n{}\n{}",
        Report::HEAD,
        report.line()
    );
}

#[test]
fn the_same_seed_gives_the_same_result_to_the_last_bit() {
    let scale = Scale::new(3, 3);
    for scene in [Scene::StartAsking, Scene::Churn] {
        let [first, same, other] = [SEED, SEED, SEED + 1].map(|seed| played(scene, scale, seed));
        assert_eq!(first, same);
        assert_ne!(first.trace, other.trace);
    }
}

#[test]
fn all_start_at_once() {
    holds(Scene::Start, Scale::new(8, 8));
}

#[test]
fn all_instances_are_replaced() {
    holds(Scene::Rolling, Scale::new(5, 5));
}

#[test]
fn each_calls_a_part_of_the_instances() {
    holds(Scene::Part, Scale::new(40, 20));
}

#[test]
fn the_network_is_cut() {
    holds(Scene::Partition, Scale::new(6, 6));
}

#[test]
fn one_of_three_is_slow() {
    holds(Scene::Slow, Scale::new(4, 3));
}

#[test]
fn one_of_three_refuses() {
    holds(Scene::Refusing, Scale::new(4, 3));
}

#[test]
fn there_is_too_much_to_do() {
    holds(Scene::Overload, Scale::new(4, 3));
}

#[test]
fn ten_thousand_endpoints_have_room_in_twenty_megabytes() {
    let bytes = sizes::bytes(10_000);
    assert!(bytes < 20_000_000, "{bytes}");
}
