//! What apps answer: the head of an answer over HTTP/1, and what it says of its connection.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use bolero::check;
use fuzz::Near;
use transport::fuzz::{keep_alive, mend, wrong};

const WORDS: [&str; 14] = [
    "HTTP/1.1 ",
    "HTTP/1.0 ",
    "HTTP/1.2 ",
    "HTTP/2.0 ",
    "200",
    "099",
    " OK",
    "\r\n",
    "\n",
    "  ",
    "x: y\r\n",
    "x : y\r\n z\r\n",
    "timeout=5",
    ", max=100",
];

const SEEDS: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nx: y\r\n\r\n",
    "HTTP/1.2   404\r\nx: y\r\n z\r\n\r\n",
    "ICY 200 OK\r\n",
    "timeout=5, max=100",
];

/// Mending changes the first line alone, makes it neither longer nor shorter, and has nothing to do twice.
#[test]
fn heads() {
    check!().with_type::<Near>().for_each(|near| {
        let head = near.to_bytes(&SEEDS, &WORDS);
        let mut mended = head.clone();
        mend(&mut mended);
        assert_eq!(mended.len(), head.len());
        let line = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
        assert_eq!(mended[line..], head[line..]);
        let once = mended.clone();
        mend(&mut mended);
        assert_eq!(mended, once);
        if let Some(what) = wrong(&mended) {
            assert!(what.len() < 2048, "{what}");
        }
    });
}

#[test]
fn keep_alive_headers() {
    check!().with_type::<Near>().for_each(|near| {
        let value = near.to_bytes(&SEEDS, &WORDS);
        if keep_alive(&value).is_some() {
            let text = std::str::from_utf8(&value).unwrap().to_ascii_lowercase();
            assert!(text.contains("timeout"), "{text:?}");
        }
    });
}
