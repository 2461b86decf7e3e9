//! The address and the internal port of this sidecar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// No address could be found.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("could not determine host IP address")]
pub struct NoAddress;

/// The address of this host, as others reach it. `given` is `DAPR_HOST_IP`, taken as it is when it is not empty;
/// else the routing table is asked (nothing is sent), else the best address of the interfaces is taken.
pub fn host_address(given: Option<&str>) -> Result<String, NoAddress> {
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return Ok(given.to_owned());
    }
    let probes: [(SocketAddr, SocketAddr); 2] = [
        (
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv4Addr::new(192, 0, 2, 1), 80).into(),
        ),
        (
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 80).into(),
        ),
    ];
    for (local, remote) in probes {
        if let Some(address) = routed(local, remote) {
            return Ok(address.to_string());
        }
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    best(interfaces.iter().map(if_addrs::Interface::ip))
        .map(|address| address.to_string())
        .ok_or(NoAddress)
}

fn routed(local: SocketAddr, remote: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(local).ok()?;
    socket.connect(remote).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !is_clat(address)).then_some(address)
}

/// 192.0.0.0/29, where 464XLAT puts addresses that nobody else can reach.
fn is_clat(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[..3] == [192, 0, 0] && address.octets()[3] < 8)
}

/// The first address of the lowest class.
fn best(addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    addresses
        .filter_map(|address| Some((class(address)?, address)))
        .min_by_key(|(class, _)| *class)
        .map(|(_, a)| a)
}

fn class(address: IpAddr) -> Option<u8> {
    if address.is_loopback() || is_clat(address) || address.is_unspecified() || address.is_multicast() {
        return None;
    }
    Some(match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            match () {
                () if address.is_link_local() => 99,
                () if address.is_private() || is_shared => 2,
                () => 0,
            }
        }
        IpAddr::V6(address) => match address.segments()[0] {
            first if first & 0xffc0 == 0xfe80 => 99,
            first if first & 0xfe00 == 0xfc00 => 3,
            first if first & 0xe000 == 0x2000 => 1,
            _ => return None,
        },
    })
}

/// The name of this host.
pub fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = kernel.trim();
    if name.is_empty() {
        std::env::var("HOSTNAME").unwrap_or_default()
    } else {
        name.to_owned()
    }
}

/// An internal port that is the same whenever the same app is started in the same place: peers that remember it
/// find the restarted sidecar. Any free one when it is taken.
pub fn stable_port(app_id: &str, working_directory: &str, user_id: u32, host: &str) -> u16 {
    let port = preferred_port(app_id, working_directory, user_id, host);
    let free = TcpListener::bind(("127.0.0.1", port))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .and_then(|listener| listener.local_addr());
    free.map_or(port, |address| address.port())
}

fn preferred_port(app_id: &str, working_directory: &str, user_id: u32, host: &str) -> u16 {
    let hash = Sha256::digest(format!("{app_id}|{working_directory}|{user_id}|{host}"));
    47_300 + u16::from_le_bytes([hash[0], hash[1]]) % 18_235
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_address_of_several() {
        for (addresses, wanted) in [
            (&["10.0.0.1", "8.8.8.8", "fd00::1"][..], Some("8.8.8.8")),
            (&["10.0.0.1", "2001:4860::1"], Some("2001:4860::1")),
            (&["100.64.0.1", "fd00::1"], Some("100.64.0.1")),
            (&["169.254.0.1", "fe80::1"], Some("169.254.0.1")),
            (&["127.0.0.1", "::1", "192.0.0.4"], None),
            (&["fe80::1", "fd00::1"], Some("fd00::1")),
        ] {
            let found = best(addresses.iter().map(|address| address.parse().unwrap()));
            assert_eq!(
                found,
                wanted.map(|wanted| wanted.parse().unwrap()),
                "{addresses:?}"
            );
        }
    }

    #[test]
    fn a_given_address_is_taken_as_it_is() {
        assert_eq!(host_address(Some("nosuch")).as_deref(), Ok("nosuch"));
    }

    #[test]
    fn the_port_stays() {
        let port = preferred_port("a", "/tmp", 0, "h");
        assert_eq!(port, preferred_port("a", "/tmp", 0, "h"));
        assert!((47_300..=65_534).contains(&port));
        assert_ne!(port, preferred_port("b", "/tmp", 0, "h"));
    }
}
