//! `middleware.http.rs.ipfilter`: only callers with some addresses go on.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName, StatusCode};
use thiserror::Error;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::paths::PathFilter;
use crate::properties::{Duplicate, Properties, Unknown, list};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Why there is no list.
#[derive(Debug, Error)]
pub(crate) enum FilterError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("{field}: {text:?} is no address and no network like 10.0.0.0/8")]
    Network { field: &'static str, text: String },
    #[error("allow or deny must be there")]
    Nothing,
    #[error("pathFilter: {0}")]
    PathFilter(String),
}

/// Whom a component lets pass.
#[derive(Debug)]
pub(crate) struct IpFilter {
    /// None means all.
    allowed: Vec<Network>,
    denied: Vec<Network>,
    /// Whose `X-Forwarded-For` is believed.
    proxies: Vec<Network>,
    filter: PathFilter,
}

/// Addresses that begin alike. Those of IPv4 are in it as IPv6 has them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Network {
    begin: u128,
    mask: u128,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            Ipv6Addr::from_bits(self.begin),
            self.mask.count_ones()
        )
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (all, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = match length {
            None => all,
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse::<u32>().ok().filter(|length| *length <= all)?
            }
            Some(_) => return None,
        };
        let rest = 128 - (before + length);
        let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
        Some(Self {
            begin: bits(address) & mask,
            mask,
        })
    }

    fn has(self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.begin
    }
}

fn have(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.has(address))
}

impl IpFilter {
    /// `allow`, `deny` and `trustedProxies` are lists of networks with commas between them.
    pub(crate) fn new(properties: &Properties) -> Result<Self, FilterError> {
        properties.check()?;
        properties.only(&["allow", "deny", "trustedProxies", "pathFilter"])?;
        let networks = |field| {
            let items = list(properties.get(field).unwrap_or_default());
            let networks = items.map(|text| {
                Network::parse(text).ok_or_else(|| FilterError::Network {
                    field,
                    text: text.to_owned(),
                })
            });
            networks.collect::<Result<Vec<_>, _>>()
        };
        let (allowed, denied) = (networks("allow")?, networks("deny")?);
        if allowed.is_empty() && denied.is_empty() {
            return Err(FilterError::Nothing);
        }
        let pattern = properties.get("pathFilter").unwrap_or_default();
        Ok(Self {
            allowed,
            denied,
            proxies: networks("trustedProxies")?,
            filter: PathFilter::new(pattern).map_err(FilterError::PathFilter)?,
        })
    }

    pub(crate) fn handle(&self, call: &Call) -> Verdict {
        if !self.filter.takes(&call.request) {
            return Ok(After::Nothing);
        }
        let peer = call.peer.map(|peer| peer.ip());
        let client = peer.and_then(|peer| self.client(peer, call.request.headers()));
        match client {
            Some(client) if self.lets_pass(client) => Ok(After::Nothing),
            _ => Err(Box::new(refused(StatusCode::FORBIDDEN, "Forbidden"))),
        }
    }

    fn lets_pass(&self, client: IpAddr) -> bool {
        !have(&self.denied, client) && (self.allowed.is_empty() || have(&self.allowed, client))
    }

    /// The address behind those proxies that are trusted. Each of them adds to the list the address that it saw, so what
    /// stands further to the left may be invented. `None` if a trusted one saw what is no address.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !have(&self.proxies, peer) {
            return Some(peer);
        }
        let mut client = peer;
        for line in headers.get_all(FORWARDED_FOR).into_iter().rev() {
            for address in line.to_str().ok()?.rsplit(',') {
                client = address.trim().parse().ok()?;
                if !have(&self.proxies, client) {
                    return Some(client);
                }
            }
        }
        Some(client)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use invoke_core::Body;

    use super::*;

    fn of(items: &[(&str, &str)]) -> Result<IpFilter, FilterError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        IpFilter::new(&Properties::new(items.iter().map(owned)))
    }

    #[test]
    fn what_is_refused() {
        for (items, wanted) in [
            (&[][..], "allow or deny must be there"),
            (&[("allow", " , ")], "allow or deny must be there"),
            (
                &[("allow", "10.0.0.0/33")],
                "allow: \"10.0.0.0/33\" is no address",
            ),
            (&[("allow", "10.0.0.0/+8")], "allow: \"10.0.0.0/+8\""),
            (&[("deny", "10.0.0.0/")], "deny: \"10.0.0.0/\""),
            (&[("deny", "example.com")], "deny: \"example.com\""),
            (
                &[("allow", "::1"), ("trustedProxies", "x")],
                "trustedProxies: \"x\"",
            ),
            (&[("allow", "::1"), ("pathFilter", "(")], "pathFilter: error"),
            (&[("alow", "::1")], "alow is no metadata of this component"),
        ] {
            let said = of(items).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{said}");
        }
    }

    #[test]
    fn who_passes() {
        let filter = of(&[
            ("allow", "10.0.0.0/8, 192.168.1.7, 2001:db8::/32"),
            ("deny", "10.9.0.0/16"),
            ("trustedProxies", "127.0.0.0/8, 10.1.1.1"),
            ("pathFilter", "^/in"),
        ]);
        let filter = filter.unwrap();
        for (peer, forwarded, passes) in [
            ("10.2.3.4:1", &[][..], true),
            ("10.9.3.4:1", &[], false),
            ("[::ffff:10.2.3.4]:1", &[], true),
            ("[::ffff:11.2.3.4]:1", &[], false),
            ("192.168.1.7:1", &[], true),
            ("192.168.1.8:1", &[], false),
            ("[2001:db8:1::1]:1", &[], true),
            ("[2001:db9::1]:1", &[], false),
            ("11.0.0.1:1", &["10.2.3.4"], false),
            ("127.0.0.1:1", &["10.2.3.4"], true),
            ("127.0.0.1:1", &["10.2.3.4, 11.0.0.1"], false),
            ("127.0.0.1:1", &["11.0.0.1, 10.2.3.4, 10.1.1.1"], true),
            ("127.0.0.1:1", &["11.0.0.1", "10.2.3.4"], true),
            ("127.0.0.1:1", &["10.2.3.4, x"], false),
            ("127.0.0.1:1", &[], false),
            ("", &["10.2.3.4"], false),
        ] {
            let mut request = Request::builder().uri("/in");
            for line in forwarded {
                request = request.header("x-forwarded-for", *line);
            }
            let call = Call {
                request: request.body(Body::empty()).unwrap(),
                peer: peer.parse().ok(),
            };
            assert_eq!(filter.handle(&call).is_ok(), passes, "{peer} {forwarded:?}");
        }
        let other = Call {
            request: Request::builder().uri("/out").body(Body::empty()).unwrap(),
            peer: None,
        };
        assert!(filter.handle(&other).is_ok());
        let denied = of(&[("deny", "::/0")]).unwrap();
        assert!(!denied.lets_pass("1.2.3.4".parse().unwrap()));
    }
}
