//! Who calls.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Room for an address with a port, so that none is allocated for each call.
#[derive(Debug)]
pub(super) struct Room {
    bytes: [u8; 64],
    length: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            bytes: [0; 64],
            length: 0,
        }
    }
}

impl Room {
    /// An address in words.
    pub(super) fn write(&mut self, address: impl fmt::Display) -> &str {
        self.length = 0;
        // The longest address of IPv6 with a scope and a port has 58 characters.
        let _ = write!(self, "{address}");
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl fmt::Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The client of a request: the last address of `X-Forwarded-For`, else `X-Real-IP`, else the other end of the
/// connection. Addresses of IPv6 count by their first half, which is what one subscriber has.
pub(super) fn of<'a>(headers: &'a HeaderMap, peer: Option<SocketAddr>, room: &'a mut Room) -> &'a str {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    let forwarded = text(FORWARDED_FOR).filter(|list| !list.is_empty());
    let client = match forwarded {
        Some(list) => Some(list.rsplit(',').next().unwrap_or_default().trim()),
        None => text(REAL_IP).filter(|address| !address.is_empty()),
    };
    match client {
        Some(client) => match client.parse() {
            Ok(IpAddr::V6(address)) if !client.contains('.') => room.write(subscriber(address)),
            _ => client,
        },
        None => match peer.map(|peer| peer.ip()) {
            Some(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => {
                room.write(subscriber(address))
            }
            Some(address) => room.write(address.to_canonical()),
            None => "",
        },
    }
}

fn subscriber(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients() {
        let peer = Some("127.0.0.1:7".parse().unwrap());
        for (forwarded, real, peer, wanted) in [
            ("", "", peer, "127.0.0.1"),
            ("1.2.3.4", "5.6.7.8", peer, "1.2.3.4"),
            ("9.9.9.9, 1.2.3.4 ", "", peer, "1.2.3.4"),
            ("9.9.9.9,", "", peer, ""),
            ("", "5.6.7.8", peer, "5.6.7.8"),
            ("2001:db8::1", "", peer, "2001:db8::"),
            ("2001:db8:0:0:ffff::1", "", peer, "2001:db8::"),
            ("::ffff:1.2.3.4", "", peer, "::ffff:1.2.3.4"),
            ("whoever", "", peer, "whoever"),
            ("", "", Some("[2001:db8::7]:1".parse().unwrap()), "2001:db8::"),
            ("", "", Some("[::ffff:1.2.3.4]:1".parse().unwrap()), "1.2.3.4"),
            ("", "", None, ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, forwarded.parse().unwrap());
            headers.insert(REAL_IP, real.parse().unwrap());
            let mut room = Room::default();
            assert_eq!(
                of(&headers, peer, &mut room),
                wanted,
                "{forwarded:?} {real:?} {peer:?}"
            );
        }
    }
}
