//! Zones are preferred, and new endpoints begin slowly.

use super::*;

#[tokio::test(start_paused = true)]
async fn one_that_is_back_begins_slowly_if_new_ones_do() {
    let set = set(&[1, 1, 1]);
    let slowly = Preferences::default().with_slow_start(Duration::from_secs(30));
    let share = |preferences: &Preferences| {
        let is_back = |_: &usize| address(&set.pick(&[], preferences, None).unwrap()) == "127.0.0.1:2";
        (0..3000).filter(is_back).count()
    };
    fail(&set, 2);
    tokio::time::advance(Duration::from_millis(1001)).await;
    set.slots[2].state().succeed();
    let at_first = share(&slowly);
    assert!((1..300).contains(&at_first), "{at_first} of 3000");
    assert!((850..1150).contains(&share(&Preferences::default())));
    tokio::time::advance(Duration::from_secs(30)).await;
    let whole = share(&slowly);
    assert!((850..1150).contains(&whole), "{whole} of 3000");
}

/// A set of endpoints in zones.
fn zoned(zones: &[&str]) -> Set {
    let endpoints = zones.iter().enumerate().map(|(port, zone)| {
        let endpoint = Endpoint::new(format!("127.0.0.1:{port}")).in_zone(*zone);
        Slot::new(endpoint, Instant::now(), false, &Arc::default())
    });
    Set::new(endpoints.collect())
}

#[test]
fn calls_stay_in_their_zone() {
    let set = zoned(&["a", "b", "b", "a", "b", "b"]);
    let near = Preferences::default().in_zone("a");
    let is_near = |_: &usize| set.pick(&[], &near, None).unwrap().endpoint().zone() == Some("a");
    let stayed = (0..1000).filter(is_near).count();
    assert!(stayed > 900, "{stayed} of 1000");
    let none = Preferences::default().in_zone("c");
    assert!(
        set.pick(&[], &none, None).is_some(),
        "a zone without endpoints is no reason not to call"
    );
}

#[test]
fn calls_leave_a_zone_that_is_busy_or_out() {
    let set = zoned(&["a", "b"]);
    let near = Preferences::default().in_zone("a");
    let held: Vec<_> = (0..4).map(|_| set.pick(&[], &near, None).unwrap()).collect();
    assert!(held.iter().all(|picked| picked.endpoint().zone() == Some("a")));
    assert!((0..100).any(|_| set.pick(&[], &near, None).unwrap().endpoint().zone() == Some("b")));
    drop(held);
    fail(&set, 0);
    for _ in 0..20 {
        assert_eq!(set.pick(&[], &near, None).unwrap().endpoint().zone(), Some("b"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_one_gets_its_share_little_by_little() {
    let slot = |port: u32, is_new| {
        let endpoint = Endpoint::new(format!("127.0.0.1:{port}"));
        Slot::new(endpoint, Instant::now(), is_new, &Arc::default())
    };
    let set = Set::new([slot(0, false), slot(1, false), slot(2, true)].into());
    let slowly = Preferences::default().with_slow_start(Duration::from_secs(30));
    let share = || {
        let is_new = |_: &usize| address(&set.pick(&[], &slowly, None).unwrap()) == "127.0.0.1:2";
        (0..3000).filter(is_new).count()
    };
    let at_first = share();
    assert!((1..300).contains(&at_first), "{at_first} of 3000");
    tokio::time::advance(Duration::from_secs(15)).await;
    let half = share();
    assert!(half > at_first && half < 900, "{half} of 3000");
    tokio::time::advance(Duration::from_secs(15)).await;
    let whole = share();
    assert!((850..1150).contains(&whole), "{whole} of 3000");
}
