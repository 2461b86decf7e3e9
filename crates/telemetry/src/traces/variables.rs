//! The variables of OpenTelemetry, as Dapr and the SDK for Go read them
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::error::TraceError;
use super::settings::Batching;

/// Finds variables, those that are empty being as good as none; and what they are asked about: `TRACES` or `METRICS`.
pub(crate) struct Variables<F>(pub(crate) F, pub(crate) &'static str);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// A variable of the exporter: what is said of the signal comes before what is said of everything.
    pub(crate) fn of_exporter(&self, name: &str) -> Option<String> {
        self.get(&format!("OTEL_EXPORTER_OTLP_{}_{name}", self.1))
            .or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    /// A number of milliseconds above zero.
    pub(crate) fn millis(&self, name: &str) -> Option<Duration> {
        let millis = self.get(name)?.parse::<u64>().ok();
        millis.filter(|millis| *millis > 0).map(Duration::from_millis)
    }

    /// Where what is exported goes, and whether the variable is about nothing but this signal.
    pub(crate) fn endpoint(&self) -> Option<(String, bool)> {
        let of_signal = self.get(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", self.1));
        of_signal.map(|endpoint| (endpoint, true)).or_else(|| {
            self.get("OTEL_EXPORTER_OTLP_ENDPOINT")
                .map(|endpoint| (endpoint, false))
        })
    }

    /// Headers by a variable, each of which must be one.
    pub(crate) fn headers(&self) -> Result<Vec<(String, String)>, TraceError> {
        let Some(text) = self.of_exporter("HEADERS") else {
            return Ok(Vec::new());
        };
        text.split(',').map(header).collect()
    }

    /// The same, without those that are none.
    pub(super) fn valid_headers(&self) -> Vec<(String, String)> {
        let text = self.of_exporter("HEADERS").unwrap_or_default();
        text.split(',').filter_map(|pair| header(pair).ok()).collect()
    }

    /// How long an export may take, in milliseconds.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, TraceError> {
        let Some(text) = self.of_exporter("TIMEOUT") else {
            return Ok(None);
        };
        match text.parse::<i64>() {
            Ok(millis) => Ok(u64::try_from(millis)
                .ok()
                .filter(|millis| *millis > 0)
                .map(Duration::from_millis)),
            Err(_) => Err(TraceError::Variable(format!(
                "strconv.Atoi: parsing {text:?}: invalid syntax"
            ))),
        }
    }

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

    /// What the spans are of: the id of the app, unless a variable has another name, and what else a variable tells.
    pub(crate) fn resource(&self, app_id: &str) -> Vec<(String, String)> {
        const NAME: &str = "service.name";
        let mut attributes = vec![(NAME.to_owned(), app_id.to_owned())];
        let mut put =
            |key: String, value: String| match attributes.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => attributes.push((key, value)),
            };
        for pair in self
            .get("OTEL_RESOURCE_ATTRIBUTES")
            .unwrap_or_default()
            .split(',')
        {
            if let Some((key, value)) = pair.split_once('=') {
                let value = percent_decode_str(value.trim()).decode_utf8_lossy();
                put(key.trim().to_owned(), value.into_owned());
            }
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            put(NAME.to_owned(), name);
        }
        attributes
    }
}

/// No queue is longer: spans wait in memory.
const MOST_QUEUED: usize = 1 << 16;
/// What OpenTelemetry allows unless a variable says otherwise.
const MOST_ATTRIBUTES: usize = 128;

/// `name=value`, with escapes in the value. What is wrong may be a secret, so the error does not show it.
fn header(pair: &str) -> Result<(String, String), TraceError> {
    let Some((name, value)) = pair.split_once('=') else {
        return Err(TraceError::Variable("missing '=' parse headers input".to_owned()));
    };
    let name = name.trim();
    if name.is_empty() {
        return Err(TraceError::Variable("a header without a name".to_owned()));
    }
    let value = percent_decode_str(value.trim()).decode_utf8();
    match value {
        Ok(value) => Ok((name.to_owned(), value.into_owned())),
        Err(_) => Err(TraceError::Variable(format!(
            "the value of the header {name:?} is no text"
        ))),
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

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn headers() {
        for (text, wanted) in [
            ("", &[][..]),
            ("a=b", &[("a", "b")][..]),
            (" a = b%20c , d=e=f", &[("a", "b c"), ("d", "e=f")]),
        ] {
            let known = [("OTEL_EXPORTER_OTLP_HEADERS", text)];
            assert_eq!(variables(&known).headers(), Ok(owned(wanted)), "{text}");
        }
        let both = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "c=d"),
        ];
        assert_eq!(variables(&both).headers(), Ok(owned(&[("c", "d")])));
        for text in ["hush", "a=b,hush", "=hush", "a=%ff"] {
            let known = [("OTEL_EXPORTER_OTLP_HEADERS", text)];
            let error = variables(&known).headers().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
        let known = [("OTEL_EXPORTER_OTLP_HEADERS", "hush,a=b")];
        assert_eq!(variables(&known).valid_headers(), owned(&[("a", "b")]));
    }

    #[test]
    fn times_and_sizes() {
        let timeout = |text| variables(&[("OTEL_EXPORTER_OTLP_TIMEOUT", text)]).timeout();
        assert_eq!(timeout("250"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(timeout("0"), Ok(None));
        assert_eq!(timeout("-1"), Ok(None));
        assert!(timeout("10s").is_err());
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

    #[test]
    fn resources() {
        for (known, wanted) in [
            (&[][..], &[("service.name", "me")][..]),
            (
                &[(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "a=b%20c, d = e ,junk,service.name=you",
                )],
                &[("service.name", "you"), ("a", "b c"), ("d", "e")],
            ),
            (
                &[
                    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=you"),
                    ("OTEL_SERVICE_NAME", "she"),
                ],
                &[("service.name", "she")],
            ),
        ] {
            assert_eq!(variables(known).resource("me"), owned(wanted), "{known:?}");
        }
    }
}
