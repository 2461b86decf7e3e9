//! Addresses and lists that are given from outside: redirects, proxies, origins.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use api_http::fuzz::is_allowed;
use app_channel::fuzz::redirect;
use bolero::check;
use fuzz::{Near, sentence};
use transport::client::Proxies;

/// Wherever a redirect leads, it is an address that leads to itself, with a host and a port to connect to.
#[test]
fn redirects() {
    const FROM: &str = "http://host:1/a/b?c";
    const SEEDS: [&str; 6] = [
        "/x?y#z",
        "../x/./y/..",
        "//user:pw@other/x",
        "HTTPS://OTHER:8443?x=1",
        "?z",
        "http://[::1]:7/x",
    ];
    let words = [
        "..", "/", "//", "?", "#", ":", "@", "%2F", "%", "é", " ", "\t", "[", "]", "http:", "https://",
    ];
    check!().with_type::<Near>().for_each(|near| {
        let location = near.to_bytes(&SEEDS, &words);
        let Some((url, address)) = redirect(FROM, &location) else {
            return;
        };
        let (host, port) = address.rsplit_once(':').unwrap();
        assert!(!host.is_empty() && !host.contains(['/', '@', ' ']), "{address}");
        assert!(
            port.bytes().all(|digit| digit.is_ascii_digit()) && !port.is_empty(),
            "{address}"
        );
        assert!(
            url.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80),
            "{url:?}"
        );
        let again = redirect(FROM, url.as_bytes());
        assert_eq!(again, Some((url, address)));
    });
}

/// A password is in no text, and what needs no proxy gets none.
#[test]
fn proxies() {
    let words = [
        "http://",
        "socks5://",
        "ftp://",
        "user:",
        "s3cret",
        "@",
        "proxy",
        ":",
        "3128",
        "/",
        "[::1]",
        "%41",
        "?",
        " ",
        "é",
    ];
    let lists = [
        "*",
        ",",
        "10.0.0.0/8",
        "/",
        "33",
        ".",
        "example.com",
        "*.",
        ":80",
        "[",
        "]",
        "::1",
        "%1",
        "10.1.2.3",
    ];
    check!()
        .with_type::<(Vec<u8>, Vec<u8>, Vec<u8>)>()
        .for_each(|(proxy, list, address)| {
            let proxy = sentence(&words, proxy);
            let (list, address) = (sentence(&lists, list), sentence(&lists, address));
            let variable = |name: &str| match name {
                "HTTP_PROXY" => Some(proxy.clone()),
                "NO_PROXY" => Some(list.clone()),
                _ => None,
            };
            let (proxies, findings) = Proxies::of(variable);
            let before = proxies.before(false, &address);
            if proxy.contains("user:s3cret@") && !proxy.replace("user:s3cret@", "").contains("s3cret") {
                let texts = format!("{findings:?} {:?} {proxies:?} {before:?}", proxies.shown());
                assert!(!texts.contains("s3cret"), "{texts}");
            }
            let is_direct = before.is_ok_and(|proxy| proxy.is_none());
            let all = list.split(',').any(|entry| entry.trim() == "*");
            assert!(
                !all || is_direct || proxies.before(false, "x").is_err(),
                "{list}: {address}"
            );
            assert!(
                proxies
                    .before(false, "localhost:80")
                    .is_ok_and(|proxy| proxy.is_none())
                    || proxies.before(false, "x").is_err()
            );
        });
}

/// An origin that is on the list may call, an empty list lets nobody call, and a star stands for any letters.
#[test]
fn origins() {
    let words = ["https://", "a", "*", ".", ",", " ", "b", "A", "null", "é"];
    check!()
        .with_type::<(Vec<u8>, Vec<u8>)>()
        .for_each(|(list, origin)| {
            let (list, origin) = (sentence(&words, list), sentence(&words, origin));
            assert_eq!(is_allowed(&list, &origin).is_none(), list.is_empty());
            for entry in list.split(',').map(str::trim) {
                // The first star of an entry stands for anything, itself included.
                if !list.is_empty() && entry.matches('*').count() < 2 {
                    assert_eq!(is_allowed(&list, entry), Some(true), "{list}: {entry}");
                    assert_eq!(
                        is_allowed(&list, &entry.replace('*', "any")),
                        Some(true),
                        "{list}: {entry}"
                    );
                }
            }
            if !list.is_empty() && !list.contains('*') {
                let is_listed = list
                    .split(',')
                    .any(|entry| entry.trim().to_lowercase() == origin.to_lowercase());
                assert_eq!(is_allowed(&list, &origin), Some(is_listed), "{list}: {origin}");
            }
        });
}
