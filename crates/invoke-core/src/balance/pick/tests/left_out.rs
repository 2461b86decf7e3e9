//! Endpoints that failed are left out for a while, as long as there are others.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_failed_endpoint_is_left_out_for_a_while() {
    let set = set(&[1, 1]);
    fail(&set, 0);
    for _ in 0..20 {
        assert_eq!(address(&picked(&set, &[]).unwrap()), "127.0.0.1:1");
    }
    tokio::time::advance(Duration::from_millis(1001)).await;
    assert!(!set.slots[0].is_out());
    fail(&set, 0);
    tokio::time::advance(Duration::from_millis(1001)).await;
    assert!(set.slots[0].is_out(), "the second failure in a row counts double");
    set.slots[0].state().succeed();
    assert!(!set.slots[0].is_out());
}

/// Where connecting takes long to fail, whoever goes there waits for it: one call does, and not all.
#[tokio::test(start_paused = true)]
async fn one_call_finds_out_whether_it_is_well_again() {
    let set = set(&[1, 1]);
    let to_first = |held: &[Picked]| held.iter().filter(|one| address(one) == "127.0.0.1:0").count();
    let held = |count: usize| (0..count).map(|_| picked(&set, &[]).unwrap()).collect::<Vec<_>>();
    let together = held(40);
    assert!(to_first(&together) > 1);
    for mut one in together {
        if address(&one) == "127.0.0.1:0" {
            one.failed();
        }
    }
    assert_eq!(to_first(&held(40)), 0);
    tokio::time::advance(Duration::from_millis(1001)).await;
    let trial = held(40);
    assert_eq!(
        to_first(&trial),
        1,
        "they failed together, so it was out for a second"
    );
    tokio::time::advance(Duration::from_millis(1001)).await;
    for one in trial {
        if address(&one) != "127.0.0.1:0" {
            drop(one.succeeded(true));
        }
    }
    assert_eq!(
        to_first(&held(40)),
        0,
        "a trial that nothing came of is a failure"
    );
    tokio::time::advance(Duration::from_millis(2001)).await;
    for one in held(40) {
        drop(one.succeeded(true));
    }
    assert!(to_first(&held(40)) > 10);
}

#[tokio::test(start_paused = true)]
async fn one_that_stands_still_is_left_out() {
    let set = set(&[1, 1]);
    let stalled = |waited: u64| async move { tokio::time::advance(Duration::from_millis(waited)).await };
    for (waited, is_answered, wanted) in [(999, false, false), (1000, true, false), (1000, false, true)] {
        let held: Vec<_> = (0..5).map(|_| Picked::new(&set.slots[0])).collect();
        stalled(waited).await;
        for (place, one) in held.into_iter().enumerate() {
            if is_answered && place == 4 {
                drop(one.succeeded(false));
            }
        }
        assert_eq!(set.slots[0].is_out(), wanted, "{waited} {is_answered}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_failed_any_is_better_than_none() {
    let two = set(&[1, 1]);
    fail(&two, 0);
    fail(&two, 1);
    let first = picked(&two, &[]).unwrap();
    let second = picked(&two, &[first.tried()]).unwrap();
    assert_ne!(address(&first), address(&second));
    assert!(picked(&two, &[first.tried(), second.tried()]).is_none());
    let one = set(&[1]);
    let only = picked(&one, &[]).unwrap();
    assert!(picked(&one, &[only.tried()]).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_one_that_is_left_is_found() {
    let set = set(&[1; WINDOW]);
    for slot in 1..WINDOW {
        fail(&set, slot);
    }
    for _ in 0..20 {
        assert_eq!(address(&picked(&set, &[]).unwrap()), "127.0.0.1:0");
    }
}
