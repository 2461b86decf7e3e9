//! Versions of an app: calls to one name are shared out among several apps.
//!
//! An operator who rolls out `shop-v2` beside `shop-v1` lets callers go on to call `shop`. The shares belong to the
//! configuration of the caller's sidecar; each version is an app of its own, with policies, metrics and endpoints of its
//! own. Dapr has nothing of the kind.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

/// The apps that have versions, by the names that callers use. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<HashMap<String, Arc<Versions>>>);

/// By what callers are told apart, so that each of them stays with one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// By the value of a header.
    Header(HeaderName),
    /// By the value of a cookie (RFC 6265, section 4.2).
    Cookie(String),
}

/// The versions of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Each with the sum of its share and of those before it.
    shares: Vec<(String, u64)>,
    total: u64,
    sticky: Option<Sticky>,
}

impl Versions {
    /// App ids with their shares; `None` when all shares are zero.
    pub fn new(shares: impl IntoIterator<Item = (String, u32)>, sticky: Option<Sticky>) -> Option<Self> {
        let mut total = 0;
        let shares = shares
            .into_iter()
            .filter(|(_, share)| *share > 0)
            .map(|(app, share)| {
                total += u64::from(share);
                (app, total)
            })
            .collect();
        (total > 0).then_some(Self {
            shares,
            total,
            sticky,
        })
    }

    /// The version for a call with these headers.
    pub(crate) fn pick(&self, headers: &HeaderMap) -> &str {
        let key = self.sticky.as_ref().and_then(|sticky| sticky.key(headers));
        let point = match key.filter(|key| !key.is_empty()) {
            // Whoever cannot be told apart is treated by chance.
            None => fastrand::u64(..self.total),
            // A place on the whole, not a rest: shares may be given anew in other units, and only those move whose part
            // of the whole did.
            Some(key) => ((u128::from(hash(&key)) * u128::from(self.total)) >> 64) as u64,
        };
        let place = self.shares.partition_point(|(_, until)| *until <= point);
        &self.shares[place].0
    }

    fn in_namespace(&self, namespace: &str) -> Self {
        let shares = self.shares.iter().map(|(app, until)| {
            let is_whole = app.contains('.');
            let app = if is_whole {
                app.clone()
            } else {
                format!("{app}.{namespace}")
            };
            (app, *until)
        });
        Self {
            shares: shares.collect(),
            ..self.clone()
        }
    }
}

impl Sticky {
    fn key<'a>(&self, headers: &'a HeaderMap) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Header(name) => headers.get(name).map(|value| value.as_bytes().into()),
            Self::Cookie(name) => crate::headers::cookie(headers, name).map(Cow::Borrowed),
        }
    }
}

/// FNV-1a, and a last mix, since neighbours must not stay neighbours: the same in all sidecars and
/// in all their versions.
fn hash(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

impl Routes {
    /// Of each name the versions.
    pub fn new(versions: impl IntoIterator<Item = (String, Versions)>) -> Self {
        let versions = versions
            .into_iter()
            .map(|(app, versions)| (app, Arc::new(versions)));
        Self(Arc::new(versions.collect()))
    }

    /// The versions of an app, in the namespace that the caller named.
    pub(crate) fn of(&self, app: &str, namespace: Option<&str>) -> Option<Arc<Versions>> {
        let versions = self.0.get(app)?;
        Some(match namespace {
            None => Arc::clone(versions),
            Some(namespace) => Arc::new(versions.in_namespace(namespace)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(sticky: Option<Sticky>) -> Versions {
        let shares = [("v1", 90), ("none", 0), ("v2", 10)];
        Versions::new(shares.map(|(app, share)| (app.to_owned(), share)), sticky).unwrap()
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        [(HeaderName::from_static(name), value.parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn shares() {
        let versions = versions(None);
        let new = (0..10_000)
            .filter(|_| versions.pick(&HeaderMap::new()) == "v2")
            .count();
        assert!((700..1300).contains(&new), "{new} of 10,000");
        assert_eq!(Versions::new([("a".to_owned(), 0)], None), None);
    }

    #[test]
    fn who_can_be_told_apart_stays() {
        for (sticky, name, around) in [
            (
                Sticky::Header(HeaderName::from_static("x-user")),
                "x-user",
                ("", ""),
            ),
            (
                Sticky::Cookie("user".to_owned()),
                "cookie",
                ("a=b; user=", "; c=d"),
            ),
        ] {
            let versions = versions(Some(sticky));
            let of = |user: usize| versions.pick(&headers(name, &format!("{}{user}{}", around.0, around.1)));
            let new = (0..10_000).filter(|user| of(*user) == "v2").count();
            assert!((700..1300).contains(&new), "{new} of 10,000");
            assert!((0..100).all(|user| (0..10).all(|_| of(user) == of(user))));
        }
    }

    /// A larger share of the last version moves nobody from it.
    #[test]
    fn a_larger_share_takes_nobody_away() {
        let sticky = || Some(Sticky::Header(HeaderName::from_static("x-user")));
        let with = |old: u32, new: u32| {
            let shares = [("v1".to_owned(), old), ("v2".to_owned(), new)];
            Versions::new(shares, sticky()).unwrap()
        };
        let before = with(90, 10);
        for after in [with(70, 30), with(90, 30), with(7, 3)] {
            for user in 0..1000 {
                let headers = headers("x-user", &user.to_string());
                assert!(before.pick(&headers) == "v1" || after.pick(&headers) == "v2");
            }
        }
    }

    #[test]
    fn an_empty_name_is_nobodys() {
        let sticky = Sticky::Header(HeaderName::from_static("x-user"));
        let versions = versions(Some(sticky));
        let picked = (0..1000).map(|_| versions.pick(&headers("x-user", "")).to_owned());
        let picked: std::collections::BTreeSet<String> = picked.collect();
        assert_eq!(picked.len(), 2);
    }

    #[test]
    fn a_namespace_is_that_of_the_caller() {
        let shares = [("v1".to_owned(), 1), ("v2.other".to_owned(), 1)];
        let routes = Routes::new([("app".to_owned(), Versions::new(shares, None).unwrap())]);
        assert!(routes.of("v1", None).is_none());
        let names = |namespace| {
            let versions = routes.of("app", namespace).unwrap();
            versions
                .shares
                .iter()
                .map(|(app, _)| app.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["v1", "v2.other"]);
        assert_eq!(names(Some("ns")), ["v1.ns", "v2.other"]);
    }
}
