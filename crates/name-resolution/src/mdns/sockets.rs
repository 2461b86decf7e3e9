//! The sockets: one per address family, on every interface that can multicast.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Mutex;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;
/// No mDNS packet is longer.
const MAX_PACKET: usize = 9000;

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The port; 5353 for everybody else.
    pub port: u16,
    /// The loopback interface and IPv4 alone.
    pub loopback_only: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            port: PORT,
            loopback_only: false,
        }
    }
}

#[derive(Debug)]
struct Interface {
    name: String,
    index: u32,
    v4: Option<Ipv4Addr>,
    has_v6: bool,
}

/// Listens to the groups and sends to them.
#[derive(Debug)]
pub(super) struct Sockets {
    network: Network,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    interfaces: Vec<Interface>,
    /// Held while the outgoing interface is chosen and the packet is sent.
    sending: Mutex<()>,
}

impl Sockets {
    /// Joins the groups wherever that is possible. Without an interface that can multicast the loopback
    /// interface serves, so that the sidecars of one host still find each other.
    pub(super) fn open(network: Network) -> Result<Self, String> {
        let mut interfaces = if network.loopback_only {
            Vec::new()
        } else {
            interfaces()
        };
        if interfaces.is_empty() {
            interfaces.push(Interface {
                name: "lo".to_owned(),
                index: 1,
                v4: Some(Ipv4Addr::LOCALHOST),
                has_v6: false,
            });
        }
        let v4 = open_v4(network.port, &interfaces).ok();
        let v6 = if network.loopback_only {
            None
        } else {
            open_v6(network.port, &interfaces).ok()
        };
        if v4.is_none() && v6.is_none() {
            return Err("No supported interface".to_owned());
        }
        Ok(Self {
            network,
            v4,
            v6,
            interfaces,
            sending: Mutex::new(()),
        })
    }

    /// The next packet and who sent it.
    pub(super) async fn receive(&self, buffer: &mut Vec<u8>) -> (usize, SocketAddr) {
        buffer.resize(2 * MAX_PACKET, 0);
        let (first, second) = buffer.split_at_mut(MAX_PACKET);
        loop {
            let received = tokio::select! {
                received = receive(self.v4.as_ref(), first) => received.map(|(n, from)| (n, from, false)),
                received = receive(self.v6.as_ref(), second) => received.map(|(n, from)| (n, from, true)),
            };
            match received {
                Ok((count, from, false)) => return (count, from),
                Ok((count, from, true)) => {
                    first[..count].copy_from_slice(&second[..count]);
                    return (count, from);
                }
                // An interface that went away, or an ICMP answer to something that was sent.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }

    /// Sends to both groups on every interface.
    pub(super) fn multicast(&self, packet: &[u8]) {
        let _sending = self.sending.lock();
        for interface in &self.interfaces {
            if let (Some(socket), Some(address)) = (&self.v4, interface.v4)
                && SockRef::from(socket).set_multicast_if_v4(&address).is_ok()
            {
                let _ = socket.try_send_to(packet, (GROUP_V4, self.network.port).into());
            }
            if let (Some(socket), true) = (&self.v6, interface.has_v6)
                && SockRef::from(socket).set_multicast_if_v6(interface.index).is_ok()
            {
                let group = SocketAddrV6::new(GROUP_V6, self.network.port, 0, interface.index);
                let _ = socket.try_send_to(packet, group.into());
            }
        }
    }

    /// Sends to one address.
    pub(super) fn unicast(&self, packet: &[u8], to: SocketAddr) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket {
            let _ = socket.try_send_to(packet, to);
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

/// Interfaces that are up and can multicast.
fn interfaces() -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
    for address in if_addrs::get_if_addrs().unwrap_or_default() {
        if !can_multicast(&address.name) || found.len() >= 64 {
            continue;
        }
        let at = found
            .iter()
            .position(|interface| interface.name == address.name)
            .unwrap_or_else(|| {
                let index = address.index.unwrap_or(0);
                found.push(Interface {
                    name: address.name.clone(),
                    index,
                    v4: None,
                    has_v6: false,
                });
                found.len() - 1
            });
        match address.ip() {
            IpAddr::V4(v4) => found[at].v4 = found[at].v4.or(Some(v4)),
            IpAddr::V6(_) => found[at].has_v6 = true,
        }
    }
    found
}

/// The flags `UP` and `MULTICAST` of an interface.
fn can_multicast(name: &str) -> bool {
    const UP: u32 = 1;
    const MULTICAST: u32 = 0x1000;
    let flags = std::fs::read_to_string(format!("/sys/class/net/{name}/flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    flags & (UP | MULTICAST) == UP | MULTICAST
}

fn open_v4(port: u16, interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Other sidecars of this host listen to the same port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.set_multicast_loop_v4(true)?;
    let joined = interfaces
        .iter()
        .filter_map(|interface| interface.v4)
        .filter(|address| socket.join_multicast_v4(&GROUP_V4, address).is_ok())
        .count();
    if joined == 0 {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    UdpSocket::from_std(socket.into())
}

fn open_v6(port: u16, interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.set_multicast_loop_v6(true)?;
    let joined = interfaces
        .iter()
        .filter(|interface| interface.has_v6)
        .filter(|interface| socket.join_multicast_v6(&GROUP_V6, interface.index).is_ok())
        .count();
    if joined == 0 {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    UdpSocket::from_std(socket.into())
}
