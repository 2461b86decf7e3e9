//! Name resolution: packets of mDNS, formats of names.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use bolero::check;
use fuzz::{Near, seeds, sentence};
use name_resolution::fuzz::{name_format, packet};

#[test]
fn packets() {
    let seeds = seeds("mdns");
    for seed in &seeds {
        assert!(packet(seed), "a seed that is no packet");
    }
    // Pointers to the first name, to themselves, and far away.
    let words = [
        "\x05_dapr",
        "\u{1}a",
        "\0\x0c\0\x01",
        "\0\x21\0\x01",
        "\0\0\0\x78",
        "\0",
    ];
    check!().with_type::<Near>().for_each(|near| {
        packet(&near.to_bytes(&seeds, &words));
    });
}

#[test]
fn bytes_as_packets() {
    check!().for_each(|bytes| {
        packet(bytes);
    });
}

/// A format gives an address for every app id, and the id stands in it.
#[test]
fn formats() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let words = ["{appid}", "{", "}", "appid", ":", "50002", ".", "é", "$", "%s"];
    check!()
        .with_type::<(Vec<u8>, Vec<u8>)>()
        .for_each(|(format, id)| {
            let (format, id) = (sentence(&words, format), sentence(&words, id));
            let address = runtime.block_on(name_format(&format, &id));
            let is_possible = format.contains("{appid}") && !id.is_empty();
            assert_eq!(address.is_some(), is_possible);
            assert!(address.is_none_or(|address| address.contains(&id)));
        });
}
