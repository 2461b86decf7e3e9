//! What the caller's side does with calls to one name: they are shared out among versions, kept with one instance, copied
//! to another app.
//!
//! An operator who rolls out `shop-v2` beside `shop-v1` lets callers go on to call `shop`. All of it belongs to the
//! configuration of the caller's sidecar; each version is an app of its own, with policies, metrics and endpoints of its
//! own. Dapr has nothing of the kind.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

use crate::balance::Affinity;
use crate::spread;

/// The apps whose calls are routed, by the names that callers use. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<HashMap<String, Arc<Routed>>>);

/// What is done with calls to one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// The versions among which they are shared out.
    pub versions: Option<Versions>,
    /// By what they are kept with one instance.
    pub instance: Option<Sticky>,
    /// Who gets copies of them.
    pub mirror: Option<Mirror>,
}

/// Another app that gets copies of calls. Whatever becomes of a copy, the call knows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The app.
    pub app: String,
    /// Of a million calls so many are copied.
    pub share: u32,
    /// So many copies are under way at once; beyond, calls are not copied.
    pub at_once: usize,
}

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
    fn pick(&self, headers: &HeaderMap) -> &str {
        let key = self.sticky.as_ref().and_then(|sticky| sticky.key(headers));
        let point = match key {
            // Whoever cannot be told apart is treated by chance.
            None => fastrand::u64(..self.total),
            // A place on the whole, not a rest: shares may be given anew in other units, and only those move whose part
            // of the whole did.
            Some(key) => ((u128::from(spread::of(&key)) * u128::from(self.total)) >> 64) as u64,
        };
        let place = self.shares.partition_point(|(_, until)| *until <= point);
        &self.shares[place].0
    }

    fn in_namespace(&self, namespace: &str) -> Self {
        let shares = self.shares.iter();
        Self {
            shares: shares
                .map(|(app, until)| (whole(app, namespace), *until))
                .collect(),
            ..self.clone()
        }
    }
}

/// An app id in a namespace, unless it names one itself.
fn whole(app: &str, namespace: &str) -> String {
    if app.contains('.') {
        app.to_owned()
    } else {
        format!("{app}.{namespace}")
    }
}

impl Sticky {
    /// What tells a call apart from others; nothing if it does not say, or says nothing by it.
    fn key<'a>(&self, headers: &'a HeaderMap) -> Option<Cow<'a, [u8]>> {
        let key: Cow<'a, [u8]> = match self {
            Self::Header(name) => headers.get(name)?.as_bytes().into(),
            Self::Cookie(name) => crate::headers::cookie(headers, name)?.into(),
        };
        (!key.is_empty()).then_some(key)
    }
}

impl Mirror {
    /// Whether this call is one of those that are copied.
    pub(crate) fn takes(&self) -> bool {
        fastrand::u32(..1_000_000) < self.share
    }
}

impl Routed {
    /// The version for a call with these headers, if there are versions.
    pub(crate) fn version(&self, headers: &HeaderMap) -> Option<&str> {
        self.versions.as_ref().map(|versions| versions.pick(headers))
    }

    /// By what a call with these headers is kept with one instance, if it is.
    pub(crate) fn affinity(&self, headers: &HeaderMap) -> Option<Affinity> {
        let key = self.instance.as_ref()?.key(headers)?;
        Some(Affinity::of(&key))
    }

    fn in_namespace(&self, namespace: &str) -> Self {
        let versions = self.versions.as_ref();
        let mirror = self.mirror.clone();
        Self {
            versions: versions.map(|versions| versions.in_namespace(namespace)),
            instance: self.instance.clone(),
            mirror: mirror.map(|mirror| Mirror {
                app: whole(&mirror.app, namespace),
                ..mirror
            }),
        }
    }
}

impl Routes {
    /// What is done with calls to each of these names.
    pub fn new(routed: impl IntoIterator<Item = (String, Routed)>) -> Self {
        let routed = routed.into_iter().map(|(app, routed)| (app, Arc::new(routed)));
        Self(Arc::new(routed.collect()))
    }

    /// What is done with calls to an app, in the namespace that the caller named.
    pub(crate) fn of(&self, app: &str, namespace: Option<&str>) -> Option<Arc<Routed>> {
        let routed = self.0.get(app)?;
        Some(match namespace {
            None => Arc::clone(routed),
            Some(namespace) => Arc::new(routed.in_namespace(namespace)),
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
        let mirror = Mirror {
            app: "next".to_owned(),
            share: 1,
            at_once: 1,
        };
        let routed = Routed {
            versions: Versions::new(shares, None),
            instance: None,
            mirror: Some(mirror),
        };
        let routes = Routes::new([("app".to_owned(), routed)]);
        assert!(routes.of("v1", None).is_none());
        let names = |namespace| {
            let routed = routes.of("app", namespace).unwrap();
            let versions = routed.versions.as_ref().unwrap().shares.iter();
            let mut names: Vec<_> = versions.map(|(app, _)| app.clone()).collect();
            names.push(routed.mirror.as_ref().unwrap().app.clone());
            names
        };
        assert_eq!(names(None), ["v1", "v2.other", "next"]);
        assert_eq!(names(Some("ns")), ["v1.ns", "v2.other", "next.ns"]);
    }

    #[test]
    fn a_call_has_an_instance_if_it_says_who_it_is() {
        let by = |instance| Routed {
            instance,
            ..Routed::default()
        };
        let header = Sticky::Header(HeaderName::from_static("x-user"));
        let cookie = Sticky::Cookie("user".to_owned());
        let of = |sticky: &Sticky, name, value| by(Some(sticky.clone())).affinity(&headers(name, value));
        let wanted = Some(Affinity::of(b"7"));
        assert_eq!(of(&header, "x-user", "7"), wanted);
        assert_eq!(of(&cookie, "cookie", "a=b; user=7"), wanted);
        for (sticky, name, value) in [
            (&header, "x-user", ""),
            (&header, "x-other", "7"),
            (&cookie, "cookie", "user="),
            (&cookie, "cookie", "a=7"),
        ] {
            assert_eq!(of(sticky, name, value), None, "{name}: {value}");
        }
        assert_eq!(by(None).affinity(&headers("x-user", "7")), None);
    }
}
