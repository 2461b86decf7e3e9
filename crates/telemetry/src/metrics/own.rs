//! Families that Dapr does not have, read when somebody asks: sockets, and what has one value alone.

use std::time::SystemTime;

use transport::Side;

use super::family::{Family, Kind, Sample};
use super::text::label;

/// A family with the label `app_id`, and further ones in the order of their names.
pub(super) struct Making<'a> {
    app_id: &'a str,
    pub(super) family: Family,
}

impl<'a> Making<'a> {
    pub(super) fn new(app_id: &'a str, name: &'static str, help: &'static str, kind: Kind) -> Self {
        let family = Family {
            name,
            help,
            kind,
            samples: Vec::new(),
        };
        Self { app_id, family }
    }

    pub(super) fn put(&mut self, labels: &[(&str, &str)], value: u64) {
        self.put_since(None, labels, value);
    }

    /// The same, of which is known when counting began.
    pub(super) fn put_since(&mut self, began: Option<SystemTime>, labels: &[(&str, &str)], value: u64) {
        let mut text = String::new();
        label(&mut text, "app_id", self.app_id);
        for (name, value) in labels {
            label(&mut text, name, value);
        }
        self.family.samples.push(Sample {
            began,
            ..Sample::number(text, value as f64)
        });
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
