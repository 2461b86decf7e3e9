//! The rules for headers that hold on every way through the sidecar: which are hop-by-hop, which tell who
//! calls, and what a forwarding sidecar adds.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::id::{AppId, Namespace};
use crate::inbound::Caller;

/// The id of the calling app, stamped by its sidecar.
pub const CALLER_APP_ID: HeaderName = HeaderName::from_static("dapr-caller-app-id");
/// The namespace of the calling app, stamped by its sidecar.
pub const CALLER_NAMESPACE: HeaderName = HeaderName::from_static("dapr-caller-namespace");
/// The id of the called app, stamped by the caller's sidecar.
pub const CALLEE_APP_ID: HeaderName = HeaderName::from_static("dapr-callee-app-id");
/// The target app on the wire between sidecars; no app ever sees it.
pub const DESTINATION_APP_ID: HeaderName = HeaderName::from_static("destination-app-id");
/// Names the target app of a call to the API.
pub const DAPR_APP_ID: HeaderName = HeaderName::from_static("dapr-app-id");
/// The API token, in both directions between app and sidecar.
pub const API_TOKEN: HeaderName = HeaderName::from_static("dapr-api-token");

/// What a trace carries along (W3C Baggage): a list.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// The addresses that a call came through, each added by the sidecar there.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The hosts that a call came through, each added by the sidecar there.
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The parent of a trace (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to a parent; without one it means nothing.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// Removes the headers that concern one connection only (RFC 9110, section 7.6.1): the known ones and all that
/// a `Connection` header names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Leaves one trace context: the first `traceparent`, and the state that came with it, as one line. A state without a
/// parent belongs to nothing (W3C Trace Context, sections 3.3 and 4.3). Tells whether there is a parent.
pub fn leave_one_trace(headers: &mut HeaderMap) -> bool {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let first = parents.next().filter(|parent| !parent.is_empty());
    let Some(first) = first else {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
        return false;
    };
    if parents.next().is_some() {
        let first = first.clone();
        headers.insert(TRACEPARENT, first);
    }
    join_lines(headers, &TRACESTATE, b",");
    if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
        headers.remove(TRACESTATE);
    }
    true
}

/// Makes one line of several, since they are one list (RFC 9110, section 5.3); those without anything say nothing.
pub fn join_lines(headers: &mut HeaderMap, name: &HeaderName, between: &[u8]) {
    if headers.get_all(name).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes().trim_ascii())
        .filter(|line| !line.is_empty())
        .collect();
    // What is made of values is one.
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(between)) {
        headers.insert(name, joined);
    }
}

/// The value of a cookie, the first of that name, as it was sent (RFC 6265, section 4.2). Whatever other cookies hold
/// does not matter.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

/// Whether a header concerns one connection only.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// Who this sidecar is, as it tells apps and other sidecars.
#[derive(Clone, Debug)]
pub struct Identity {
    app_id: AppId,
    namespace: Namespace,
    app_id_value: HeaderValue,
    namespace_value: HeaderValue,
    callee: Callee,
    forwarded: Forwarded,
}

/// The id of a called app, as headers tell it. One that cannot stand in a header (it has control characters) is not
/// told.
#[derive(Clone, Debug)]
pub struct Callee(Option<HeaderValue>);

impl Callee {
    /// The app of this id.
    pub fn new(id: &AppId) -> Self {
        Self(HeaderValue::from_str(id.as_str()).ok())
    }
}

/// What a sidecar adds to the forwarding headers of a call that it passes on.
#[derive(Clone, Debug, Default)]
struct Forwarded {
    address: Option<HeaderValue>,
    host: Option<HeaderValue>,
    all: Option<HeaderValue>,
}

impl Identity {
    /// The identity of a sidecar. `address` is the IP address of its host, `host` the host's name; each may be
    /// empty when it is not known, and then nothing tells it.
    ///
    /// An id that cannot stand in a header (it has control characters) is sent as an empty value.
    pub fn new(app_id: AppId, namespace: Namespace, address: &str, host: &str) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        let app_id_value = value(app_id.as_str());
        let namespace_value = value(namespace.as_str());
        Self {
            callee: Callee::new(&app_id),
            app_id,
            namespace,
            app_id_value,
            namespace_value,
            forwarded: Forwarded::new(address, host),
        }
    }

    /// The app id of this sidecar.
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// The namespace of this sidecar.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The app of this sidecar, as calls to it name it.
    pub fn callee(&self) -> &Callee {
        &self.callee
    }

    /// Stamps a call to another sidecar: who calls, who is called, and the forwarding headers. Copies of the
    /// identity headers that came from outside are removed.
    pub fn stamp_remote(&self, headers: &mut HeaderMap, callee: &Callee) {
        self.stamp_caller(headers, callee);
        if let Callee(Some(callee)) = callee {
            headers.insert(DESTINATION_APP_ID, callee.clone());
        }
        if let Some(address) = &self.forwarded.address {
            headers.append(FORWARDED_FOR, address.clone());
        }
        if let Some(host) = &self.forwarded.host {
            headers.append(FORWARDED_HOST, host.clone());
        }
        if let Some(all) = &self.forwarded.all {
            headers.append(header::FORWARDED, all.clone());
        }
    }

    /// Stamps a proxied call: who calls and who is called, in place of copies from outside. The target was found.
    pub fn stamp_proxied(&self, headers: &mut HeaderMap, callee: &Callee) {
        headers.remove(DAPR_APP_ID);
        headers.insert(CALLER_APP_ID, self.app_id_value.clone());
        if let Callee(Some(callee)) = callee {
            headers.insert(CALLEE_APP_ID, callee.clone());
        }
    }

    /// Stamps a call of the app to itself.
    pub fn stamp_local(&self, headers: &mut HeaderMap) {
        self.stamp_caller(headers, &self.callee);
    }

    fn stamp_caller(&self, headers: &mut HeaderMap, callee: &Callee) {
        // `insert` replaces every copy: header names are compared without regard to case.
        headers.insert(CALLER_APP_ID, self.app_id_value.clone());
        headers.insert(CALLER_NAMESPACE, self.namespace_value.clone());
        match callee {
            Callee(Some(callee)) => headers.insert(CALLEE_APP_ID, callee.clone()),
            Callee(None) => headers.remove(CALLEE_APP_ID),
        };
    }
}

impl Caller {
    /// Replaces what a call says about its caller by what the connection proved. Without a proof it stays as it
    /// is; when what was proved is no app of Dapr, nothing is said.
    pub fn replace_claims(&self, headers: &mut HeaderMap) {
        let Some(id) = self.spiffe_id.as_deref() else {
            return;
        };
        let proved = app_of(id);
        let proved = [
            (CALLER_APP_ID, proved.map(|(_, app)| app)),
            (CALLER_NAMESPACE, proved.map(|(namespace, _)| namespace)),
        ];
        for (name, proved) in proved {
            let proved = proved.and_then(|proved| HeaderValue::from_str(proved).ok());
            match proved {
                Some(proved) if headers.contains_key(&name) => headers.insert(name, proved),
                _ => headers.remove(name),
            };
        }
    }
}

/// Namespace and id of an app, by its SPIFFE id: `spiffe://<trust domain>/ns/<namespace>/<app id>`.
fn app_of(id: &str) -> Option<(&str, &str)> {
    let (_, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    let (namespace, app) = path.strip_prefix("ns/")?.split_once('/')?;
    let is_one = |segment: &str| !segment.is_empty() && !segment.contains('/');
    (is_one(namespace) && is_one(app)).then_some((namespace, app))
}

impl Forwarded {
    fn new(address: &str, host: &str) -> Self {
        let value = |text: &str| {
            (!text.is_empty())
                .then(|| HeaderValue::from_str(text).ok())
                .flatten()
        };
        let node = if address.contains(':') {
            format!("\"[{address}]\"")
        } else {
            address.to_owned()
        };
        let mut parts = Vec::new();
        if !address.is_empty() {
            parts.push(format!("for={node};by={node}"));
        }
        if !host.is_empty() {
            parts.push(format!("host={host}"));
        }
        Self {
            address: value(address),
            host: value(host),
            all: value(&parts.join(";")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        headers
    }

    fn identity(address: &str) -> Identity {
        Identity::new("me".into(), "ns".into(), address, "node1")
    }

    #[test]
    fn cookies() {
        for (lines, wanted) in [
            (&["a=b"][..], Some("b")),
            (&["c=d; a=b=; a=e"], Some("b=")),
            (&["c=d", "c=d;a="], Some("")),
            (&["é=\u{e9}; a=b"], Some("b")),
            (&["a=é"], Some("é")),
            (&["aa=b", "a", "A=b", "=b", ";;"], None),
            (&[], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let found = cookie(&map(&lines), "a").map(<[u8]>::to_vec);
            assert_eq!(found.as_deref(), wanted.map(str::as_bytes), "{lines:?}");
        }
    }

    #[test]
    fn claims_are_replaced_by_what_was_proved() {
        let claims = &[("dapr-caller-app-id", "evil"), ("Dapr-Caller-Namespace", "evil")];
        for (id, wanted) in [
            (None, [Some("evil"), Some("evil")]),
            (Some("spiffe://public/ns/prod/app"), [Some("app"), Some("prod")]),
            (Some("spiffe://public/ns/prod/app/x"), [None, None]),
            (Some("spiffe://public/app"), [None, None]),
            (Some("spiffe://public"), [None, None]),
        ] {
            let caller = Caller {
                spiffe_id: id.map(Into::into),
                ..Caller::default()
            };
            let mut headers = map(claims);
            caller.replace_claims(&mut headers);
            let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!([text(CALLER_APP_ID), text(CALLER_NAMESPACE)], wanted, "{id:?}");
            let mut nothing = HeaderMap::new();
            caller.replace_claims(&mut nothing);
            assert!(nothing.is_empty());
        }
    }

    #[test]
    fn hop_by_hop_headers_go_with_those_that_connection_names() {
        let mut headers = map(&[
            ("Connection", "close, X-Mine"),
            ("Connection", "x-other,"),
            ("Keep-Alive", "5"),
            ("TE", "trailers"),
            ("X-Mine", "1"),
            ("X-Other", "2"),
            ("X-Kept", "3"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-kept", "3")]));
    }

    #[test]
    fn one_trace_is_left() {
        for (given, wanted) in [
            (&[][..], &[][..]),
            (&[("traceparent", "a")], &[("traceparent", "a")]),
            (
                &[("traceparent", "a"), ("traceparent", "b")],
                &[("traceparent", "a")],
            ),
            (&[("tracestate", "s=1")], &[]),
            (&[("traceparent", ""), ("tracestate", "s=1")], &[]),
            (
                &[("traceparent", ""), ("traceparent", "b"), ("tracestate", "s=1")],
                &[],
            ),
            (
                &[
                    ("traceparent", "a"),
                    ("tracestate", "s=1"),
                    ("tracestate", ""),
                    ("tracestate", "t=2"),
                ],
                &[("traceparent", "a"), ("tracestate", "s=1,t=2")],
            ),
            (
                &[("traceparent", "a"), ("tracestate", "")],
                &[("traceparent", "a")],
            ),
        ] {
            let mut headers = map(given);
            assert_eq!(leave_one_trace(&mut headers), !wanted.is_empty(), "{given:?}");
            assert_eq!(headers, map(wanted), "{given:?}");
        }
    }

    #[test]
    fn lines_are_joined() {
        for (lines, wanted) in [
            (&["a=1"][..], Some("a=1")),
            (&["a=1", "b=2"], Some("a=1; b=2")),
            (&["a=1", "", " ", "b=2"], Some("a=1; b=2")),
            (&["", ""], Some("")),
            (&[""], Some("")),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().unwrap());
            }
            join_lines(&mut headers, &header::COOKIE, b"; ");
            let joined = headers.get(header::COOKIE).map(|line| line.to_str().unwrap());
            assert_eq!(joined, wanted, "{lines:?}");
            assert!(headers.len() < 2);
        }
    }

    #[test]
    fn a_spoofed_identity_is_replaced() {
        let mut headers = map(&[("Dapr-Caller-App-Id", "evil"), ("dapr-caller-app-id", "evil2")]);
        identity("").stamp_local(&mut headers);
        let callers: Vec<_> = headers.get_all(CALLER_APP_ID).iter().collect();
        assert_eq!(callers, ["me"]);
        assert_eq!(headers[CALLEE_APP_ID], "me");
        assert_eq!(headers[CALLER_NAMESPACE], "ns");
        assert!(!headers.contains_key(DESTINATION_APP_ID));
    }

    #[test]
    fn forwarding_headers_are_appended() {
        let mut headers = map(&[("X-Forwarded-For", "1.2.3.4")]);
        identity("10.0.0.5").stamp_remote(&mut headers, &Callee::new(&"you".into()));
        let path: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        assert_eq!(path, ["1.2.3.4", "10.0.0.5"]);
        assert_eq!(headers[FORWARDED_HOST], "node1");
        assert_eq!(headers[header::FORWARDED], "for=10.0.0.5;by=10.0.0.5;host=node1");
        assert_eq!(headers[DESTINATION_APP_ID], "you");
    }

    #[test]
    fn an_ipv6_address_is_quoted() {
        let mut headers = HeaderMap::new();
        identity("fe80::1").stamp_remote(&mut headers, &Callee::new(&"you".into()));
        assert_eq!(
            headers[header::FORWARDED],
            "for=\"[fe80::1]\";by=\"[fe80::1]\";host=node1"
        );
    }
}
