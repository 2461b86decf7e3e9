//! Families that Dapr does not have, read when somebody asks: sockets, apps that are called, the limit of the app.

use std::sync::Arc;

use invoke_core::balance::{EndpointState, Endpoints};
use invoke_core::targets::Peer;
use transport::Side;

use super::family::{Family, Kind, Sample};
use super::text::label;

/// So many instances have series of their own; the others are counted together.
const MOST_ENDPOINTS: usize = 256;
/// What stands for them.
const OTHER: &str = "other";

/// A family with the label `app_id`, and further ones in the order of their names.
struct Making<'a> {
    app_id: &'a str,
    family: Family,
}

impl<'a> Making<'a> {
    fn new(app_id: &'a str, name: &'static str, help: &'static str, kind: Kind) -> Self {
        let family = Family {
            name,
            help,
            kind,
            samples: Vec::new(),
        };
        Self { app_id, family }
    }

    fn put(&mut self, labels: &[(&str, &str)], value: u64) {
        let mut text = String::new();
        label(&mut text, "app_id", self.app_id);
        for (name, value) in labels {
            label(&mut text, name, value);
        }
        self.family.samples.push(Sample::number(text, value as f64));
    }
}

/// A family with one sample.
pub fn single(app_id: &str, name: &'static str, help: &'static str, kind: Kind, value: u64) -> Family {
    let mut making = Making::new(app_id, name, help, kind);
    making.put(&[], value);
    making.family
}

/// What the sockets of the process do.
pub fn sockets(app_id: &str) -> Vec<Family> {
    let family = |name, help, kind| Making::new(app_id, name, help, kind);
    let mut open = family(
        "daprd_connections_open",
        "The number of connections that are open, by who began them.",
        Kind::Gauge,
    );
    let mut opened = family(
        "daprd_connections_total",
        "The number of connections that were made.",
        Kind::Counter,
    );
    let mut received = family(
        "daprd_socket_received_bytes_total",
        "The number of bytes that came in from sockets, as they are on the wire.",
        Kind::Counter,
    );
    let mut sent = family(
        "daprd_socket_sent_bytes_total",
        "The number of bytes that went out to sockets, as they are on the wire.",
        Kind::Counter,
    );
    let mut handshakes = family(
        "daprd_tls_handshakes_total",
        "The number of TLS handshakes, by how they ended.",
        Kind::Counter,
    );
    for (name, side) in [("client", Side::Client), ("server", Side::Server)] {
        let counts = side.counts();
        let labels = [("side", name)];
        open.put(&labels, counts.opened.saturating_sub(counts.closed));
        opened.put(&labels, counts.opened);
        received.put(&labels, counts.received);
        sent.put(&labels, counts.sent);
        if counts.handshakes + counts.failed_handshakes > 0 {
            handshakes.put(&[("result", "failed"), ("side", name)], counts.failed_handshakes);
            handshakes.put(&[("result", "ok"), ("side", name)], counts.handshakes);
        }
    }
    [open, opened, received, sent, handshakes]
        .map(|making| making.family)
        .into()
}

/// The apps that are called, and their instances if each of them is to have series of its own.
pub fn peers(app_id: &str, peers: &[Arc<Peer>], with_endpoints: bool) -> Vec<Family> {
    let gauge = |name, help| Making::new(app_id, name, help, Kind::Gauge);
    let mut known = gauge(
        "daprd_endpoints",
        "The number of instances of an app that are known.",
    );
    let mut out = gauge(
        "daprd_endpoints_ejected",
        "The number of those that are left out at the moment because they could not be reached.",
    );
    let mut in_flight = gauge(
        "daprd_calls_in_flight",
        "The number of calls to an app whose answer has not ended.",
    );
    let mut ejections = Making::new(
        app_id,
        "daprd_endpoint_ejections_total",
        "How often an instance of an app was left out because it could not be reached.",
        Kind::Counter,
    );
    let mut each = Each::new(app_id);
    for peer in peers {
        let endpoints = peer.endpoints();
        let states: Vec<EndpointState> = endpoints.iter().flat_map(Endpoints::states).collect();
        let target = peer.app().id.as_str();
        let labels = [("target", target)];
        known.put(&labels, states.len() as u64);
        out.put(&labels, states.iter().filter(|state| state.is_out).count() as u64);
        in_flight.put(&labels, states.iter().map(|state| state.in_flight as u64).sum());
        ejections.put(&labels, peer.ejections());
        if with_endpoints {
            for state in &states {
                each.put(target, state);
            }
        }
    }
    let mut families = vec![known.family, out.family, in_flight.family, ejections.family];
    families.extend([each.picks, each.in_flight, each.out].map(|making| making.family));
    families
}

/// The families of single instances.
struct Each<'a> {
    picks: Making<'a>,
    in_flight: Making<'a>,
    out: Making<'a>,
    count: usize,
}

impl<'a> Each<'a> {
    fn new(app_id: &'a str) -> Self {
        Self {
            picks: Making::new(
                app_id,
                "daprd_endpoint_picks_total",
                "How often an instance of an app was picked.",
                Kind::Counter,
            ),
            in_flight: Making::new(
                app_id,
                "daprd_endpoint_calls_in_flight",
                "The number of calls to an instance of an app whose answer has not ended.",
                Kind::Gauge,
            ),
            out: Making::new(
                app_id,
                "daprd_endpoint_ejected",
                "Whether an instance of an app is left out because it could not be reached.",
                Kind::Gauge,
            ),
            count: 0,
        }
    }

    /// What has the same labels is added up by whoever shows it.
    fn put(&mut self, target: &str, state: &EndpointState) {
        self.count += 1;
        let endpoint = if self.count > MOST_ENDPOINTS {
            OTHER
        } else {
            &*state.address
        };
        let labels = [("endpoint", endpoint), ("target", target)];
        self.picks.put(&labels, state.picks);
        self.in_flight.put(&labels, state.in_flight as u64);
        self.out.put(&labels, u64::from(state.is_out));
    }
}
