//! Peers that want us to keep or to do too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::frame::{flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Config, Reason};

const END: u8 = flag::END_STREAM;
/// So long nothing must happen. It may be short: what is wrong then goes unnoticed, and nothing else fails.
const A_WHILE: Duration = Duration::from_millis(200);

/// Writes the same again and again until nothing is read any more; returns how much was.
async fn write_until_stopped(peer: &mut Peer, bytes: &[u8], limit: usize) -> usize {
    let mut written = 0;
    while written < limit {
        let rest = &bytes[written % bytes.len()..];
        match timeout(A_WHILE, peer.io.write(rest)).await {
            Ok(count) => written += count.unwrap(),
            Err(_) => break,
        }
    }
    written
}

#[tokio::test]
async fn whoever_takes_no_replies_is_not_read() {
    let ping = frame(kind::PING, 0, 0, [0; 8]);
    let cases = [
        ("pings", ping.repeat(1000)),
        ("settings", settings(&[]).repeat(1000)),
        ("late data", data(0, 1, "").repeat(1000)),
    ];
    for (name, bytes) in cases {
        let mut served = served_with(Config::default(), &[], 10_000, at_once).await;
        served
            .peer
            .send([headers(END, 1, POST), ping.clone()].concat())
            .await;
        served.peer.next(&[kind::PING]).await;
        let written = write_until_stopped(&mut served.peer, &bytes, 3 << 20).await;
        let waiting = served.shared.lock().output.len();
        assert!(waiting < 1 << 19, "{name}: {waiting} bytes wait for the socket");
        if name == "late data" {
            assert!(written >= 3 << 20, "they need no reply but the first");
        } else {
            assert!(written < 1 << 20, "{name}: {written}");
            // As soon as they are taken it goes on.
            let (read, mut write) = tokio::io::split(served.peer.io);
            let reading =
                tokio::spawn(async move { tokio::io::copy(&mut { read }, &mut tokio::io::sink()).await });
            soon(write.write_all(&bytes[written % bytes.len()..]))
                .await
                .unwrap();
            soon(write.write_all(&ping.repeat(10_000))).await.unwrap();
            soon(write.shutdown()).await.unwrap();
            soon(reading).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_takes_no_replies_is_not_read() {
    let mut connected = connected_with(Config::default(), &[], 10_000).await;
    let pings = frame(kind::PING, 0, 0, [0; 8]).repeat(1000);
    let written = write_until_stopped(&mut connected.peer, &pings, 1 << 20).await;
    assert!(written < 1 << 19, "{written}");
    let waiting = connected.shared.lock().output.len();
    assert!(waiting < 1 << 18, "{waiting} bytes wait for the socket");
}

#[tokio::test]
async fn a_client_that_sends_much_reads_on() {
    // Nothing of this is asked for by the peer: both sides would wait for each other if it held reading up.
    let mut connected = connected_with(Config::default(), &[], 10_000).await;
    connected.peer.sync().await;
    let call = || {
        let mut request = post(full(vec![7; 60_000]));
        let long = "x".repeat(30_000).parse().unwrap();
        request.headers_mut().insert("long", long);
        connected.call(request)
    };
    let calls: Vec<_> = (0..40).map(|_| call()).collect();
    until(|| connected.shared.lock().output.len() > 1 << 18).await;
    let written = write_until_stopped(&mut connected.peer, &frame(0x99, 0, 0, [0; 1000]), 1 << 20).await;
    assert!(written >= 1 << 20, "{written}");
    // Calls that had to wait for the socket begin when it takes more.
    for _ in 0..calls.len() {
        connected.peer.next(&[kind::HEADERS]).await;
    }
}

#[tokio::test]
async fn reading_goes_on_when_what_held_it_up_goes_out_at_once() {
    let mut served = served_with(Config::default(), &[], 8 << 20, |_| async {
        let mut answer = http::Response::new(empty());
        let long = "x".repeat(400_000).parse().unwrap();
        answer.headers_mut().insert("long", long);
        answer
    })
    .await;
    // More than is read in one turn. Then the answer is there, and holds reading up before the socket was asked for
    // more; but the socket takes the answer in one go, and so never tells that anything is to be done.
    let more = frame(0x99, 0, 0, [0; 1000]).repeat(1000);
    served.peer.send([headers(END, 1, POST), more].concat()).await;
    served.peer.sync().await;
    until(|| served.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn answers_that_are_not_taken_hold_up_further_calls() {
    let mut served = served_with(Config::default(), &[], 10_000, at_once).await;
    let mut written = 0;
    for id in (1..).step_by(2).take(200_000) {
        let request = headers(END, id, POST);
        if timeout(A_WHILE, served.peer.io.write_all(&request))
            .await
            .is_err()
        {
            break;
        }
        written += 1;
    }
    assert!(written < 150_000, "{written} calls");
    let waiting = served.shared.lock().output.len();
    assert!(waiting < 1 << 20, "{waiting} bytes wait");
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_in_haste_wait_for_those_that_began() {
    let running = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&running);
    let config = Config {
        max_streams: 10,
        ..Config::default()
    };
    // The calls cannot notice that they are over while this holds them up: they run on the same thread.
    let mut served = served_with(config, &[], 1 << 20, move |request| {
        count.fetch_add(1, Relaxed);
        never(request)
    })
    .await;
    let mut most = 0;
    let mut id = 1;
    for _ in 0..200 {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            bytes.extend(headers(0, id, POST));
            id += 2;
        }
        served.peer.send(bytes).await;
        tokio::task::yield_now().await;
        let resets: Vec<u8> = (id - 200..id)
            .step_by(2)
            .flat_map(|id| reset(id, Reason::CANCEL))
            .collect();
        served.peer.send(resets).await;
        most = most.max(served.shared.lock().streams.len());
    }
    served.peer.sync().await;
    assert!(most < 2000, "{most} streams at once");
    assert!(running.load(Relaxed) >= 10);
    until(|| served.shared.lock().left() == NOTHING).await;
    // The connection is as good as before, also for clients that give much up.
    served.peer.send(headers(0, id, POST)).await;
    served.peer.sync().await;
    assert_eq!(served.shared.lock().left().active, 1);
}

/// How long it takes until so many calls are begun and reset, of which each `answered`-th one is answered before.
async fn time_of_resets(count: u32, answered: u32) -> Duration {
    let begun = tokio::time::Instant::now();
    let mut served = served_with(Config::default(), &[], 1 << 16, |request| async move {
        if request.uri().path() == "/never" {
            std::future::pending::<()>().await;
        }
        http::Response::new(empty())
    })
    .await;
    for number in 0..count {
        let id = 2 * number + 1;
        let is_answered = answered > 0 && number.is_multiple_of(answered);
        let path: &[u8] = if is_answered { &[0x84] } else { b"\x04\x06/never" };
        served
            .peer
            .send(headers(END, id, [&[0x82, 0x86], path].concat()))
            .await;
        if is_answered {
            served.peer.next(&[kind::HEADERS]).await;
        } else {
            served.peer.send(reset(id, Reason::CANCEL)).await;
        }
    }
    served.peer.sync().await;
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_reset_before_they_are_answered_have_a_rate() {
    let time = time_of_resets(10_000, 0).await;
    let seconds = 2.5..=5.0;
    assert!(seconds.contains(&time.as_secs_f64()), "{time:?}");
    let time = time_of_resets(3000, 0).await;
    assert!(time < Duration::from_secs(1), "a burst is nothing: {time:?}");
    let time = time_of_resets(10_000, 2).await;
    assert!(
        time < Duration::from_secs(1),
        "half of the calls are answered: {time:?}"
    );
}

#[tokio::test]
async fn crowds_are_not_read_until_they_are_gone() {
    // A service that keeps what it is to let go, until it is told.
    let (tell, told) = tokio::sync::watch::channel(false);
    let config = Config {
        max_streams: 10,
        ..Config::default()
    };
    let mut served = served_with(config, &[], 1 << 12, move |request| {
        let mut told = told.clone();
        async move {
            tokio::spawn(async move {
                let _request = request;
                let _ = told.wait_for(|is_told| *is_told).await;
            });
            std::future::pending().await
        }
    })
    .await;
    let mut id = 1;
    loop {
        served.peer.io.write_all(&headers(0, id, POST)).await.unwrap();
        tokio::time::sleep(Duration::ZERO).await;
        let is_stuck = timeout(A_WHILE, async {
            served
                .peer
                .io
                .write_all(&reset(id, Reason::CANCEL))
                .await
                .unwrap();
            while served.shared.lock().left().active > 0 {
                tokio::task::yield_now().await;
            }
        });
        if is_stuck.await.is_err() {
            break;
        }
        id += 2;
        assert!(id < 6000, "{} streams linger", served.shared.lock().streams.len());
    }
    let lingering = served.shared.lock().streams.len();
    assert!((1000..1100).contains(&lingering), "{lingering}");
    tell.send(true).unwrap();
    until(|| served.shared.lock().left() == NOTHING).await;
    served.peer.sync().await;
}

#[tokio::test]
async fn windows_cannot_be_changed_for_ever_while_there_are_many_streams() {
    let mut served = served_with(Config::default(), &[LONG_FRAMES], 1 << 20, never).await;
    for id in (1..10_001).step_by(2) {
        served.peer.send(headers(0, id, POST)).await;
    }
    served.peer.sync().await;
    // Honest clients do so a few times.
    for window in 0..100 {
        served
            .peer
            .send(settings(&[(setting::INITIAL_WINDOW_SIZE, window)]))
            .await;
    }
    served.peer.sync().await;
    // One frame counts as one change.
    let many: Vec<_> = (0..5000)
        .map(|window| (setting::INITIAL_WINDOW_SIZE, window))
        .collect();
    served.peer.send(settings(&many)).await;
    served.peer.sync().await;
    let flood: Vec<u8> = (0..1000)
        .flat_map(|window| settings(&[(setting::INITIAL_WINDOW_SIZE, window)]))
        .collect();
    served.peer.try_send(flood).await;
    assert_eq!(served.peer.breach().await, Some(Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn crumbs_are_kept_as_a_whole() {
    let mut served = served(never).await;
    served.peer.send(headers(0, 1, POST)).await;
    for _ in 0..50 {
        served.peer.send(data(0, 1, "x").repeat(1000)).await;
        served.peer.send(frame(0x99, 0, 0, vec![0; 16_000])).await;
    }
    served.peer.sync().await;
    let mut state = served.shared.lock();
    let key = state.streams.key(1).unwrap();
    let mut pieces = 0;
    while state.streams.get(key).unwrap().receiving.data.pop().is_some() {
        pieces += 1;
    }
    assert!(pieces < 10, "{pieces}");
}

#[tokio::test]
async fn an_idle_connection_keeps_little() {
    let mut served = served_with(Config::default(), &[LONG_FRAMES], 1 << 20, echo).await;
    let long = [POST, &[0, 1, b'a', 0x7f, 0xe1, 0xb4, 0x03], &vec![b'x'; 56_032]].concat();
    for id in (1..2001).step_by(2) {
        let bytes = [
            headers(0, id, &long[..if id % 100 == 1 { long.len() } else { 3 }]),
            data(END, id, vec![7; 60]),
        ];
        served.peer.send(bytes.concat()).await;
        served.peer.next(&[kind::DATA]).await;
    }
    until(|| served.shared.lock().left() == NOTHING).await;
    served.peer.sync().await;
    let mut state = served.shared.lock();
    assert!(state.output.joined().capacity() <= 64 * 1024);
    assert!(state.streams.places() <= 64);
}

/// The hash by which maps of headers begin (FNV-1a). Anybody can compute it.
struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[tokio::test]
async fn names_that_collide_cost_no_more_than_others() {
    use std::hash::{Hash, Hasher};

    let collides = |name: &String| {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        http::HeaderName::try_from(name).unwrap().hash(&mut hash);
        // The place in a map with so many entries.
        hash.finish() & 2047 == 7
    };
    let names: Vec<String> = (0..)
        .map(|n| format!("x{n}"))
        .filter(collides)
        .take(1000)
        .collect();
    let mut block = POST.to_vec();
    for name in &names {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.extend([1, b'v']);
    }
    let config = Config {
        max_header_list: 64 * 1024,
        ..Config::default()
    };
    let mut served = served_with(config, &[], 1 << 20, move |request| {
        let is_found = |name: &String| request.headers().contains_key(name.as_str());
        let status = if names.iter().all(is_found) { 200 } else { 500 };
        async move {
            let mut answer = http::Response::new(empty());
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            answer
        }
    })
    .await;
    served.peer.send(headers(END, 1, &block)).await;
    let answer = served.peer.next(&[kind::HEADERS]).await;
    assert_eq!(answer.payload[0], HEAD_OK[0]);
}
