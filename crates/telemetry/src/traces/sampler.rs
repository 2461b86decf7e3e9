//! Which traces are recorded.

use std::fmt;

use go_text::push_float;
use invoke_core::trace::TraceContext;

/// The rate that counts where none is given that can be read.
const DEFAULT_RATE: f64 = 1e-4;

/// Follows the parent; a trace that begins here is sampled by its id, as the samplers of OpenTelemetry do, so that all
/// sidecars of one rate agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    rate: f64,
    /// Trace ids below this are sampled.
    bound: u64,
}

impl Sampler {
    /// `rate` as it is written. Below 0 nothing is sampled, from 1 on everything.
    pub(super) fn new(rate: &str) -> Self {
        let rate = rate.parse().unwrap_or(DEFAULT_RATE);
        let rate = if f64::is_nan(rate) {
            0.0
        } else {
            rate.clamp(0.0, 1.0)
        };
        Self {
            rate,
            bound: (rate * (1_u64 << 63) as f64) as u64,
        }
    }

    /// Whether a span is recorded whose parent is `parent`.
    pub(super) fn samples(&self, parent: &TraceContext, trace_id: &[u8; 16]) -> bool {
        if parent.is_valid() {
            return parent.is_sampled();
        }
        // The low half is what is random in every generator of ids.
        let low = u128::from_be_bytes(*trace_id) as u64;
        low >> 1 < self.bound
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ParentBased{root:TraceIDRatioBased{")?;
        let mut rate = String::new();
        push_float(&mut rate, self.rate);
        f.write_str(&rate)?;
        f.write_str(
            "},remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,\
             localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (rate, shown) in [
            ("", "0.0001"),
            ("many", "0.0001"),
            ("0", "0"),
            ("-3", "0"),
            ("NaN", "0"),
            ("0.00001", "1e-05"),
            ("0.25", "0.25"),
            ("1", "1"),
            ("1.0", "1"),
            ("1e9", "1"),
            ("inf", "1"),
        ] {
            let sampler = Sampler::new(rate).to_string();
            let begin = format!(
                "ParentBased{{root:TraceIDRatioBased{{{shown}}},remoteParentSampled:AlwaysOnSampler,"
            );
            assert!(sampler.starts_with(&begin), "{rate}: {sampler}");
        }
    }

    #[test]
    fn who_is_sampled() {
        let none = TraceContext::default();
        let parent = TraceContext {
            trace_id: [1; 16],
            span_id: [1; 8],
            flags: 0,
        };
        let sampled = TraceContext { flags: 3, ..parent };
        let id = |low: u64| {
            let mut id = [0xff; 16];
            id[8..].copy_from_slice(&low.to_be_bytes());
            id
        };
        let middle = 1 << 63;
        for (rate, parent, low, wanted) in [
            ("1", none, u64::MAX, true),
            ("0", none, 0, false),
            ("0.5", none, middle - 1, true),
            ("0.5", none, middle, false),
            ("1", parent, 0, false),
            ("0", sampled, u64::MAX, true),
        ] {
            let is_sampled = Sampler::new(rate).samples(&parent, &id(low));
            assert_eq!(is_sampled, wanted, "{rate} {parent:?} {low}");
        }
    }
}
