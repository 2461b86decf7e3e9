//! What goes into the table, and what never does.

use super::super::Encoder;
use super::{encode, hex};

#[test]
fn static_entries_are_one_byte() {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":status", "200"),
        ("accept-encoding", "gzip, deflate"),
        ("host", ""),
    ];
    assert_eq!(encode(&mut Encoder::new(), &fields), hex("83 86 84 88 90 a6"));
}

#[test]
fn a_pair_is_indexed_the_second_time() {
    let mut encoder = Encoder::new();
    let te = [("te", "trailers")];
    assert_eq!(encode(&mut encoder, &te), b"\0\x02te\x08trailers");
    assert_eq!(encode(&mut encoder, &te), b"\x40\x02te\x08trailers");
    assert_eq!(encode(&mut encoder, &te), b"\xbe");
    // With a static name.
    let path = [(":path", "/a")];
    assert_eq!(encode(&mut encoder, &path), b"\x04\x02/a");
    assert_eq!(encode(&mut encoder, &path), b"\x44\x02/a");
    assert_eq!(encode(&mut encoder, &[path[0], te[0]]), b"\xbe\xbf");
}

#[test]
fn secrets_and_long_values_are_never_indexed() {
    let long = "x".repeat(1024);
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        assert_eq!(encode(&mut encoder, &[("authorization", "a")]), b"\x1f\x08\x01a");
        assert_eq!(encode(&mut encoder, &[("cookie", "")]), b"\x1f\x11\0");
        assert_eq!(
            encode(&mut encoder, &[("dapr-api-token", "a")]),
            b"\x10\x0edapr-api-token\x01a"
        );
        assert_eq!(encode(&mut encoder, &[("secret", "a")]), b"\x10\x06secret\x01a");
        assert_eq!(encode(&mut encoder, &[("a", &long)])[..3], *b"\0\x01a");
        assert_eq!(encode(&mut encoder, &[("cookie", &long)])[..2], *b"\x1f\x11");
    }
    assert_eq!(encoder.table_len(), 0);
}

#[test]
fn values_that_differ_do_not_push_out_what_repeats() {
    let mut encoder = Encoder::new();
    for call in 0..10_000 {
        let block = encode(
            &mut encoder,
            &[("te", "trailers"), ("traceparent", &call.to_string())],
        );
        assert!(
            call < 2 || block.starts_with(b"\xbe\0\x0btraceparent"),
            "{call} {}",
            block.escape_ascii()
        );
    }
}

#[test]
fn size_updates_go_out_with_the_next_block() {
    for (sizes, update) in [
        (&[4096][..], ""),
        (&[65536], ""),
        (&[100], "3f45"),
        (&[0], "20"),
        (&[0, 65536], "20 3fe11f"),
        (&[200, 10, 100], "2a 3f45"),
        (&[100, 4096], "3f45 3fe11f"),
    ] {
        let mut encoder = Encoder::new();
        for size in sizes {
            encoder.set_max_table_size(*size);
        }
        assert_eq!(encode(&mut encoder, &[]), hex(update), "{sizes:?}");
        assert_eq!(encode(&mut encoder, &[]), b"", "{sizes:?}");
    }
    // What does not fit the table is not put there.
    let mut encoder = Encoder::new();
    encoder.set_max_table_size(41);
    encode(&mut encoder, &[]);
    for _ in 0..3 {
        assert_eq!(
            encode(&mut encoder, &[("te", "trailers")]),
            b"\0\x02te\x08trailers"
        );
    }
}
