//! Who takes longer gets less.

use super::*;

/// A thousand calls, one after the other, each of which takes as long as its endpoint needs.
async fn thousand(set: &Set, millis: impl Fn(usize, u32) -> u64) -> Vec<u32> {
    let mut calls = vec![0; set.slots.len()];
    for call in 0..1000 {
        let picked = picked(set, &[]).unwrap();
        let place = set.slots.iter().position(|slot| slot.is_among(&[picked.tried()]));
        let place = place.unwrap();
        tokio::time::advance(Duration::from_millis(millis(place, call))).await;
        drop(picked.succeeded(true));
        calls[place] += 1;
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_gets_little_until_it_is_well() {
    let set = set(&[1; 3]);
    let calls = thousand(&set, |place, _| if place == 0 { 20 } else { 2 }).await;
    assert!((1..=20).contains(&calls[0]), "{calls:?}");
    tokio::time::advance(Duration::from_secs(60)).await;
    let calls = thousand(&set, |_, _| 2).await;
    assert!(calls.iter().all(|calls| calls.abs_diff(333) < 84), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn equal_ones_have_equal_shares_whatever_their_methods_take() {
    let set = set(&[1; 3]);
    // Every fiftieth call takes five seconds, and others differ by half.
    let millis = |_, call| {
        if call % 50 == 7 {
            5_000
        } else {
            4 + u64::from(call % 3)
        }
    };
    let calls = thousand(&set, millis).await;
    assert!(calls.iter().all(|calls| calls.abs_diff(333) < 84), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn who_fails_at_once_is_not_fast() {
    let set = set(&[1; 2]);
    let mut calls = [0; 2];
    for _ in 0..1000 {
        let picked = picked(&set, &[]).unwrap();
        let is_good = address(&picked) == "127.0.0.1:0";
        if is_good {
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        drop(picked.succeeded(is_good));
        calls[usize::from(is_good)] += 1;
    }
    assert!(calls[0] < 600, "{calls:?}");
}
