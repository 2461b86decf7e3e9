//! Name resolution: packets of mDNS, formats of names, answers of Consul's agent and of the API
//! of a cluster, settings.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use bolero::check;
use fuzz::{Near, seeds, sentence};
use name_resolution::fuzz::{consul_answer, dns_name, name_format, packet, pods, settings};

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

/// Whatever an agent says, what comes of it are addresses: a host, a colon and a port.
#[test]
fn answers_of_an_agent() {
    let seeds = seeds("consul");
    for seed in &seeds {
        assert!(!consul_answer(seed).is_empty(), "a seed without an instance");
    }
    let words = [
        "{",
        "}",
        "[",
        "]",
        "null",
        "\"Meta\"",
        "\"Address\"",
        "DAPR_PORT",
        "65536",
        "::1",
        "\\u0000",
        "-1",
    ];
    check!().with_type::<Near>().for_each(|near| {
        for address in consul_answer(&near.to_bytes(&seeds, &words)) {
            let (host, port) = address.rsplit_once(':').unwrap();
            assert!(
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
                "{address}"
            );
            assert!(!host.contains(['/', ' ', '@']), "{address}");
        }
    });
}

/// What is kept of a target stands under the name of its test.
fn settings_of(component: &str, test: &str) {
    let words = [
        "{",
        "}",
        "[]",
        "null",
        "true",
        "\"client\"",
        "1e99",
        "-1",
        "\"x\"",
        "https",
        "unix",
        "::",
        "{appid}",
        "\"5h\"",
    ];
    let seeds = seeds(&format!("settings-{component}"));
    for seed in &seeds {
        assert!(settings(component, seed), "a seed that is none");
    }
    check!(name = test).with_type::<Near>().for_each(|near| {
        settings(component, &near.to_bytes(&seeds, &words));
    });
}

#[test]
fn settings_of_consul() {
    settings_of("consul", "settings_of_consul");
}

#[test]
fn settings_of_dns() {
    settings_of("dns", "settings_of_dns");
}

#[test]
fn settings_of_sqlite() {
    settings_of("sqlite", "settings_of_sqlite");
}

#[test]
fn settings_of_fixed_addresses() {
    settings_of("static", "settings_of_fixed_addresses");
}

/// Whatever an app is called, a name of the DNS is asked for that is one: whole, of plain letters, with the id in it.
#[test]
fn names_of_the_dns() {
    let words = [
        "{appid}",
        "{namespace}",
        "{",
        "}",
        "a",
        "b-1",
        "_",
        ".",
        "..",
        "\\",
        "\\0",
        "é",
        " ",
        "*",
        "A",
    ];
    check!()
        .with_type::<(Vec<u8>, Vec<u8>, Vec<u8>)>()
        .for_each(|(name, id, namespace)| {
            let [name, id, namespace] = [name, id, namespace].map(|choice| sentence(&words, choice));
            let Some(asked) = dns_name(&name, &id, &namespace) else {
                return;
            };
            assert!(asked.ends_with('.') && asked.len() <= 255, "{asked}");
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            assert!(asked.bytes().all(is_plain), "{asked}");
            assert!(
                !id.is_empty() && asked.contains(&id) || id.is_empty(),
                "{asked}: not for {id}"
            );
        });
}

/// Whatever the API of a cluster says, what comes of it are addresses of pods.
#[test]
fn slices_of_a_cluster() {
    let seeds = seeds("slices");
    for seed in &seeds {
        assert!(!pods(seed).is_empty(), "a seed without a pod");
    }
    let words = [
        "{",
        "}",
        "[",
        "]",
        "null",
        "\"endpoints\"",
        "IPv6",
        "::1",
        "65536",
        "-1",
        "false",
    ];
    check!().with_type::<Near>().for_each(|near| {
        for address in pods(&near.to_bytes(&seeds, &words)) {
            assert!(
                address
                    .parse::<std::net::SocketAddr>()
                    .is_ok_and(|address| address.port() > 0),
                "{address}"
            );
        }
    });
}
