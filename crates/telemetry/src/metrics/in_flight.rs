//! How many requests each API has at the moment: a family that Dapr does not have.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use invoke_core::observe::Api;

use super::family::{Family, Kind, Sample};
use super::text::label;

const APIS: [(Api, &str); 4] = [
    (Api::Http, "http"),
    (Api::Public, "public"),
    (Api::Grpc, "grpc"),
    (Api::Internal, "internal"),
];

/// The requests of each API whose answer has not ended; those from other sidecars count until it begins, as the head of
/// the answer is the last that is told of them.
pub(super) struct InFlight {
    app_id: Arc<str>,
    counts: [AtomicI64; APIS.len()],
}

impl InFlight {
    pub(super) fn new(app_id: &Arc<str>) -> Self {
        Self {
            app_id: Arc::clone(app_id),
            counts: Default::default(),
        }
    }

    fn add(&self, api: Api, number: i64) {
        for ((known, _), count) in APIS.iter().zip(&self.counts) {
            if *known == api {
                count.fetch_add(number, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn begin(&self, api: Api) {
        self.add(api, 1);
    }

    pub(super) fn end(&self, api: Api) {
        self.add(api, -1);
    }

    pub(super) fn family(&self) -> Family {
        let samples = APIS.iter().zip(&self.counts).map(|((_, name), count)| {
            let mut labels = String::new();
            label(&mut labels, "api", name);
            label(&mut labels, "app_id", &self.app_id);
            Sample::number(labels, count.load(Ordering::Relaxed) as f64)
        });
        Family {
            name: "daprd_requests_in_flight",
            help: "The number of requests at each API whose answer has not ended; of those from other sidecars \
                   (internal), whose answer has not begun.",
            kind: Kind::Gauge,
            samples: samples.collect(),
        }
    }
}
