//! Calls are spread by load and by weight, and a pick costs the same whatever the number of endpoints.

use super::*;

#[test]
fn the_less_loaded_of_two_is_picked() {
    let set = set(&[1, 1]);
    let _load = Picked::new(&set.slots[0]);
    for _ in 0..20 {
        assert_eq!(address(&picked(&set, &[]).unwrap()), "127.0.0.1:1");
    }
}

#[test]
fn load_spreads() {
    let set = set(&[1; 3]);
    let held: Vec<_> = (0..300).map(|_| picked(&set, &[]).unwrap()).collect();
    let loads: Vec<_> = set.slots.iter().map(|slot| slot.load()).collect();
    assert!(loads.iter().all(|load| *load > 80), "{loads:?}");
    drop(held);
    assert!(set.slots.iter().all(|slot| slot.load() == 0));
}

#[test]
fn load_spreads_by_weight() {
    let set = set(&[1, 3]);
    let _held: Vec<_> = (0..400).map(|_| picked(&set, &[]).unwrap()).collect();
    let light = set.slots[0].load();
    assert!((80..=120).contains(&light), "{light} of 400");
}

#[test]
fn calls_that_end_at_once_spread_by_weight_too() {
    let set = set(&[1, 3]);
    let is_light = |_: &usize| address(&picked(&set, &[]).unwrap()) == "127.0.0.1:0";
    let light = (0..4000).filter(is_light).count();
    assert!((700..=1300).contains(&light), "{light} of 4000");
}

/// However many there are, and however many of them are out.
#[tokio::test(start_paused = true)]
async fn a_pick_looks_at_few() {
    use crate::balance::slots::tests::LOOKS;

    let near = Preferences::default().in_zone("nowhere");
    for count in [10, 1_000, 100_000] {
        let set = set(&vec![1; count]);
        for out in [0, count / 2, count] {
            (0..out).for_each(|slot| fail(&set, slot));
            for preferences in [&Preferences::default(), &near] {
                let looks = (0..100).map(|_| {
                    LOOKS.set(0);
                    assert!(set.pick(&[], preferences, None).is_some());
                    LOOKS.get()
                });
                let most = looks.max().unwrap();
                assert!(most <= 4 * DRAWS + WINDOW, "{most} of {count}, {out} of them out");
            }
        }
    }
}
