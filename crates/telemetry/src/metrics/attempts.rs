//! Attempts by how they ended: a family that Dapr does not have.

use std::sync::Arc;

use invoke_core::error::{Cause, Delivery, InvokeError, code};

use super::buckets::Counter;
use super::family::{Family, Kind};
use super::labels::{Column, Entry, NO_CODE, Part, Table, TableSettings};
use super::settings::MetricsSettings;

const NAME: &str = "daprd_attempts_total";
const HELP: &str = "The number of attempts towards other apps and external endpoints, by how they ended.";

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered, with HTTP below 500 or with OK of gRPC.
    Ok,
    /// Answered, with another status.
    Error,
    /// Turned away by a sidecar that has enough to do.
    Refused,
    /// Nobody was there who could have seen it.
    Unreachable,
    /// There was no answer in time.
    Timeout,
    /// Given up: the caller went away, or the policy's time was over.
    Cancelled,
    /// All else: nobody can tell what the other side made of it.
    Failed,
}

impl Outcome {
    /// Of an answer: a status of HTTP from 100 on, one of gRPC below.
    pub(super) fn of_status(status: i32) -> Self {
        match status {
            code::OK | 100..=499 => Self::Ok,
            _ => Self::Error,
        }
    }

    pub(super) fn of_error(error: &InvokeError) -> Self {
        match &error.cause {
            _ if error.is_refusal => Self::Refused,
            Cause::DeadlineExceeded => Self::Timeout,
            Cause::Cancelled => Self::Cancelled,
            Cause::Rpc(status) if status.code == code::DEADLINE_EXCEEDED => Self::Timeout,
            _ if error.seen == Delivery::No => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

/// The counters of one target.
#[derive(Debug, Default)]
pub(super) struct Outcomes([Counter; 7]);

macro_rules! columns {
    ($($label:literal $outcome:ident),*) => {
        [$(Column {
            name: NAME,
            help: HELP,
            kind: Kind::Counter,
            labels: &[("app_id", Part::App), ("outcome", Part::Always($label)), ("target", Part::First)],
            value: |outcomes| outcomes.0.get(Outcome::$outcome as usize)?.value(),
        }),*]
    };
}

static ATTEMPTS: [Column<Outcomes>; 7] = columns!(
    "ok" Ok,
    "error" Error,
    "refused" Refused,
    "unreachable" Unreachable,
    "timeout" Timeout,
    "cancelled" Cancelled,
    "failed" Failed
);

/// The family.
pub(super) struct Attempts(Table<Outcomes>);

impl Attempts {
    pub(super) fn new(settings: &MetricsSettings) -> Self {
        let table = TableSettings {
            columns: &ATTEMPTS[..],
            make: Box::new(Outcomes::default),
            fold: |_| ["other", ""],
            what: "apps that are called",
        };
        Self(Table::new(
            Arc::clone(&settings.app_id),
            settings.rules.clone(),
            table,
        ))
    }

    pub(super) fn target(&self, name: &str) -> Arc<Entry<Outcomes>> {
        self.0.entry([name, ""])
    }

    pub(super) fn count(&self, target: &Entry<Outcomes>, outcome: Outcome) {
        self.0.with(target, NO_CODE, |outcomes| {
            if let Some(counter) = outcomes.0.get(outcome as usize) {
                counter.add_one();
            }
        });
    }

    pub(super) fn families(&self) -> Vec<Family> {
        self.0.families()
    }
}

#[cfg(test)]
mod tests {
    use invoke_core::{Fault, RpcStatus};

    use super::*;

    #[test]
    fn outcomes() {
        for (status, wanted) in [
            (0, Outcome::Ok),
            (200, Outcome::Ok),
            (404, Outcome::Ok),
            (500, Outcome::Error),
            (14, Outcome::Error),
        ] {
            assert_eq!(Outcome::of_status(status), wanted, "{status}");
        }
        let rpc = |code| Cause::from(RpcStatus::new(code, "x"));
        for (seen, is_refusal, cause, wanted) in [
            (Delivery::No, true, rpc(14), Outcome::Refused),
            (Delivery::No, false, rpc(14), Outcome::Unreachable),
            (Delivery::Maybe, false, rpc(14), Outcome::Failed),
            (Delivery::Maybe, false, rpc(4), Outcome::Timeout),
            (Delivery::No, false, Cause::DeadlineExceeded, Outcome::Timeout),
            (Delivery::Maybe, false, Cause::Cancelled, Outcome::Cancelled),
        ] {
            let error = InvokeError::new(Fault::Peer, seen, cause).refused(is_refusal);
            assert_eq!(Outcome::of_error(&error), wanted, "{error:?}");
        }
    }
}
