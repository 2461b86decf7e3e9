//! How spans are handed over, by the variables of OpenTelemetry.

use std::time::Duration;

use super::settings::Batching;
use crate::otlp::Variables;

/// No queue is longer: spans wait in memory.
const MOST_QUEUED: usize = 1 << 16;
/// What OpenTelemetry allows unless a variable says otherwise.
const MOST_ATTRIBUTES: usize = 128;

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    /// How spans are handed over. A number that is none, or not above zero, leaves what is usual.
    pub(super) fn batching(&self) -> Batching {
        let usual = Batching::default();
        let number = |name: &str, usual: u64| {
            let given = self.get(name).and_then(|text| text.parse::<u64>().ok());
            given.filter(|number| *number > 0).unwrap_or(usual)
        };
        let millis =
            |name: &str, usual: Duration| Duration::from_millis(number(name, usual.as_millis() as u64));
        let size = |name: &str, usual: usize, most: usize| {
            usize::try_from(number(name, usual as u64))
                .unwrap_or(most)
                .min(most)
        };
        let queue = size("OTEL_BSP_MAX_QUEUE_SIZE", usual.queue, MOST_QUEUED);
        Batching {
            queue,
            batch: size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", usual.batch, queue),
            delay: millis("OTEL_BSP_SCHEDULE_DELAY", usual.delay),
            timeout: millis("OTEL_BSP_EXPORT_TIMEOUT", usual.timeout),
        }
    }

    /// How many attributes a span has at most.
    pub(super) fn most_attributes(&self) -> usize {
        let limit = self
            .get("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT")
            .or_else(|| self.get("OTEL_ATTRIBUTE_COUNT_LIMIT"));
        limit
            .and_then(|text| text.parse().ok())
            .unwrap_or(MOST_ATTRIBUTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<'a>(known: &'a [(&'a str, &'a str)]) -> Variables<impl Fn(&str) -> Option<String> + 'a> {
        let find = move |name: &str| {
            let found = known.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Variables(find, "TRACES")
    }

    #[test]
    fn times_and_sizes() {
        let known = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "soon"),
        ];
        let wanted = Batching {
            queue: 10,
            batch: 10,
            delay: Duration::from_millis(20),
            ..Batching::default()
        };
        assert_eq!(variables(&known).batching(), wanted);
        assert_eq!(variables(&[]).batching(), Batching::default());
        assert_eq!(
            variables(&[("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999999999")])
                .batching()
                .queue,
            2048
        );
    }
}
