//! `NO_PROXY`: addresses that are called directly.

use std::net::IpAddr;

/// What needs no proxy.
#[derive(Debug, Default)]
pub(super) struct Bypass {
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// `*`
    All,
    /// `10.0.0.0/8`
    Network(IpAddr, u8),
    /// `10.0.0.1`, `10.0.0.1:80`, `[::1]:80`
    Address(IpAddr, String),
    /// `example.com` with all that is below it; `.example.com` and `*.example.com` for that alone; perhaps with a port.
    Domain {
        /// With a dot in front.
        suffix: String,
        with_itself: bool,
        port: String,
    },
}

impl Bypass {
    /// Reads a list. What makes no sense in it means nothing, as in Go.
    pub(super) fn parse(list: &str) -> Self {
        let mut entries = Vec::new();
        for entry in list.split(',').map(|entry| entry.trim().to_lowercase()) {
            if entry == "*" {
                return Self {
                    entries: vec![Entry::All],
                };
            }
            entries.extend(Entry::parse(&entry));
        }
        Self { entries }
    }

    /// Whether an address (`host` or `host:port`) is called directly.
    pub(super) fn is_for(&self, is_https: bool, authority: &str) -> bool {
        let port = if is_https { "443" } else { "80" };
        let (host, port) = match split(authority) {
            Some((host, "")) => (host, port),
            Some(split) => split,
            None => (authority.trim_matches(['[', ']']), port),
        };
        let host = host.to_lowercase();
        if matches!(host.as_str(), "localhost" | "localhost.") {
            return true;
        }
        let address = address(&host);
        address.is_some_and(|address| address.is_loopback())
            || self
                .entries
                .iter()
                .any(|entry| entry.covers(&host, address, port))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        if let Some(network) = network(text) {
            return Some(network);
        }
        let (host, port) = split(text).unwrap_or((text, ""));
        if host.is_empty() {
            return None;
        }
        if let Some(address) = address(host) {
            return Some(Self::Address(address, port.to_owned()));
        }
        let host = host
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(host);
        let with_itself = !host.starts_with('.');
        let suffix = if with_itself {
            format!(".{host}")
        } else {
            host.to_owned()
        };
        Some(Self::Domain {
            suffix,
            with_itself,
            port: port.to_owned(),
        })
    }

    fn covers(&self, host: &str, ip: Option<IpAddr>, port: &str) -> bool {
        let is_port = |wanted: &String| wanted.is_empty() || wanted == port;
        match (self, ip) {
            (Self::All, _) => true,
            (Self::Network(network, bits), Some(ip)) => contains(*network, *bits, ip),
            (Self::Address(address, wanted), Some(ip)) => *address == ip && is_port(wanted),
            (
                Self::Domain {
                    suffix,
                    with_itself,
                    port: wanted,
                },
                None,
            ) => {
                let is_itself = *with_itself && suffix.strip_prefix('.') == Some(host);
                (is_itself || host.ends_with(suffix)) && is_port(wanted)
            }
            _ => false,
        }
    }
}

/// An address of IPv4 in the form of IPv6 is one of IPv4.
fn address(text: &str) -> Option<IpAddr> {
    // The zone of an address does not matter here.
    let text = text.split('%').next().unwrap_or_default();
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn network(text: &str) -> Option<Entry> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let is_number = bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|bits| is_number && *bits <= longest)?;
    Some(Entry::Network(address, bits))
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let shared = |one: u128, other: u128, length: u32| {
        let rest = length - u32::from(bits);
        one.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            shared(u128::from(u32::from(network)), u128::from(u32::from(address)), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => shared(u128::from(network), u128::from(address), 128),
        _ => false,
    }
}

/// Host and port, as Go's `net.SplitHostPort`; nothing without a port.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => {
            let host = host.strip_suffix(']')?;
            (!host.contains(['[', ']'])).then_some((host, port))
        }
        None => (!host.contains([':', '[', ']']) && !port.contains([']', '['])).then_some((host, port)),
    }
}
