//! Which of the forms of the exposition a scraper gets.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::metrics::Format;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
/// How names may be escaped. The names of our families need none of it.
const ESCAPINGS: [&str; 4] = ["underscores", "allow-utf-8", "dots", "values"];

/// A kind of content that a scraper takes.
#[derive(Debug)]
struct Accepted<'a> {
    kind: &'a str,
    parameters: &'a str,
    quality: f32,
}

impl<'a> Accepted<'a> {
    fn parse(text: &'a str) -> Self {
        let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut accepted = Self {
            kind: kind.trim(),
            parameters,
            quality: 1.0,
        };
        if let Some(quality) = accepted.parameter("q") {
            // What is no number is not wanted.
            let quality = quality.parse().unwrap_or(0.0);
            accepted.quality = if (0.0..=1.0).contains(&quality) {
                quality
            } else {
                0.0
            };
        }
        accepted
    }

    fn parameter(&self, wanted: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let is_it = name.trim().eq_ignore_ascii_case(wanted);
            is_it.then(|| value.trim().trim_matches('"'))
        })
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    /// The form that this asks for, if there is one.
    fn format(&self, offers_openmetrics: bool) -> Option<Format> {
        let version = self.parameter("version").unwrap_or_default();
        if self.quality <= 0.0 {
            return None;
        }
        if self.is("text/plain") && matches!(version, "" | "0.0.4") {
            return Some(Format::Text);
        }
        if self.is("application/openmetrics-text") && matches!(version, "" | "1.0.0") && offers_openmetrics {
            return Some(Format::OpenMetrics);
        }
        let is_protobuf = self.is("application/vnd.google.protobuf")
            && self.parameter("proto") == Some("io.prometheus.client.MetricFamily")
            && self.parameter("encoding") == Some("delimited");
        is_protobuf.then_some(Format::Protobuf)
    }
}

/// What the lines of a header list.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Accepted<'a>> {
    let values = headers.get_all(name).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(Accepted::parse)
}

/// Whether a scraper would rather have the exposition packed than as it is. What it likes as much is as it is.
pub(super) fn wants_gzip(headers: &HeaderMap) -> bool {
    let quality = |coding: &str| {
        let listed = listed(headers, &header::ACCEPT_ENCODING);
        let qualities = listed
            .filter(|one| one.is(coding) || one.is("*"))
            .map(|one| one.quality);
        qualities.fold(0.0, f32::max)
    };
    quality("gzip") > quality("identity")
}

/// The form and how it is called. As with Go's client, what has the greatest quality is looked at first, of the same quality
/// what stands first; what says nothing that is known gets the text; and the last word about escaping counts until
/// then.
pub(crate) fn negotiated(headers: &HeaderMap, offers_openmetrics: bool) -> (Format, HeaderValue) {
    let mut accepted: Vec<_> = listed(headers, &header::ACCEPT).collect();
    accepted.sort_by(|one, other| other.quality.total_cmp(&one.quality));
    let (mut format, mut escaping) = (Format::Text, ESCAPINGS[0]);
    for accepted in &accepted {
        let wanted = accepted.parameter("escaping");
        if let Some(known) = ESCAPINGS.into_iter().find(|known| Some(*known) == wanted) {
            escaping = known;
        }
        if let Some(found) = accepted.format(offers_openmetrics) {
            format = found;
            break;
        }
    }
    let kind = match format {
        Format::Text => TEXT,
        Format::OpenMetrics => OPENMETRICS,
        Format::Protobuf => PROTOBUF,
    };
    let kind = HeaderValue::from_str(&format!("{kind}; escaping={escaping}"));
    // It is made of letters that headers may have.
    (format, kind.unwrap_or(HeaderValue::from_static(TEXT)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a scraper sends, it gets one of the forms, by its name.
        #[test]
        fn rubbish_gets_a_form(accept in "[a-z/;=,.*\"q0-9 \\-]{0,200}", offers: bool) {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(&accept).unwrap());
            let (format, kind) = negotiated(&headers, offers);
            let is_text = kind.to_str().unwrap().starts_with(TEXT);
            prop_assert_eq!(format == Format::Text, is_text);
            prop_assert!(offers || format != Format::OpenMetrics);
        }
    }

    /// What Prometheus 2.42 sends, without and with native histograms.
    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                              text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                          application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

    #[test]
    fn what_scrapers_get() {
        use Format::{OpenMetrics, Protobuf, Text};
        let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=";
        for (accept, without, with) in [
            ("", Text, Text),
            ("*/*", Text, Text),
            (PROMETHEUS, Text, OpenMetrics),
            (NATIVE, Protobuf, Protobuf),
            ("application/openmetrics-text", Text, OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"",
                Text,
                OpenMetrics,
            ),
            ("application/openmetrics-text;version=0.0.1", Text, Text),
            ("application/openmetrics-text;version=2.0.0", Text, Text),
            ("application/openmetrics-text;q=0", Text, Text),
            ("application/openmetrics-text;q=x", Text, Text),
            ("application/openmetrics-text;q=NaN, text/plain", Text, Text),
            ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Text, Text),
            (
                "text/plain;q=0.4,application/openmetrics-text;q=0.5",
                Text,
                OpenMetrics,
            ),
            ("text/plain,application/openmetrics-text", Text, Text),
            (
                "text/plain;version=9,application/openmetrics-text",
                Text,
                OpenMetrics,
            ),
            (&format!("{proto}delimited"), Protobuf, Protobuf),
            (&format!("{proto}delimited;q=0.1,*/*"), Protobuf, Protobuf),
            (&format!("{proto}delimited;q=0"), Text, Text),
            (&format!("{proto}text"), Text, Text),
            ("application/vnd.google.protobuf;encoding=delimited", Text, Text),
            (",;,=;q,;;q=;/,", Text, Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            for (offers, wanted) in [(false, without), (true, with)] {
                let (format, kind) = negotiated(&headers, offers);
                assert_eq!(format, wanted, "{accept:?} {offers}");
                let begins = match wanted {
                    Text => TEXT,
                    OpenMetrics => OPENMETRICS,
                    Protobuf => PROTOBUF,
                };
                assert_eq!(kind, format!("{begins}; escaping=underscores"));
            }
        }
    }

    #[test]
    fn who_gets_it_packed() {
        for (codings, wanted) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["deflate", "GZip;q=0.1"], true),
            (&["gzip, deflate, br"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=x"], false),
            (&["gzipped"], false),
            (&["*"], false),
            (&["identity, gzip"], false),
            (&["identity;q=0.5, gzip"], true),
            (&["gzip;q=0.5", "*;q=0.1"], true),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(coding));
            }
            assert_eq!(wants_gzip(&headers), wanted, "{codings:?}");
        }
    }

    #[test]
    fn what_a_scraper_wants_of_names() {
        for (accept, wanted) in [
            ("", "underscores"),
            (
                "text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.1",
                "allow-utf-8",
            ),
            (
                "application/openmetrics-text;escaping=values,text/plain; escaping=dots",
                "dots",
            ),
            ("text/plain;escaping=x", "underscores"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            let (_, kind) = negotiated(&headers, false);
            assert_eq!(kind, format!("{TEXT}; escaping={wanted}"));
        }
    }
}
