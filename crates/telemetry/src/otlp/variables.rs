//! The variables of OpenTelemetry, as Dapr and the SDK for Go read them
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{Endpoint, VariableError, roots, split};

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

    /// Where what is exported goes. The variable of the signal has the whole path for HTTP, the variable of everything the
    /// one that `usual` is put below.
    pub(crate) fn endpoint(&self, usual: &str) -> Option<Endpoint> {
        if let Some(endpoint) = self.get(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", self.1)) {
            return Some(Endpoint::whole(&endpoint, usual));
        }
        let endpoint = self.get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let base = split(&endpoint).1.trim_end_matches('/');
        Some(Endpoint {
            path: format!("{base}{usual}"),
            ..Endpoint::whole(&endpoint, usual)
        })
    }

    /// Whether the collector is spoken to with HTTP.
    pub(crate) fn is_http(&self) -> bool {
        let protocol = self.of_exporter("PROTOCOL");
        protocol.is_some_and(|protocol| protocol.starts_with("http"))
    }

    /// Whether the connection is to be plain, whatever the address says.
    pub(crate) fn is_insecure(&self) -> bool {
        let insecure = self.of_exporter("INSECURE");
        insecure.is_some_and(|insecure| insecure.eq_ignore_ascii_case("true"))
    }

    /// Whether messages are packed.
    pub(crate) fn is_packed(&self) -> bool {
        self.of_exporter("COMPRESSION").as_deref() == Some("gzip")
    }

    /// The authorities that vouch for the collector, in PEM.
    pub(crate) fn roots(&self) -> Result<Option<Vec<u8>>, VariableError> {
        self.of_exporter("CERTIFICATE").as_deref().map(roots).transpose()
    }

    /// Headers by a variable, each of which must be one.
    pub(crate) fn headers(&self) -> Result<Vec<(String, String)>, VariableError> {
        let Some(text) = self.of_exporter("HEADERS") else {
            return Ok(Vec::new());
        };
        text.split(',').map(header).collect()
    }

    /// The same, without those that are none.
    pub(crate) fn valid_headers(&self) -> Vec<(String, String)> {
        let text = self.of_exporter("HEADERS").unwrap_or_default();
        text.split(',').filter_map(|pair| header(pair).ok()).collect()
    }

    /// How long an export may take, in milliseconds.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, VariableError> {
        let Some(text) = self.of_exporter("TIMEOUT") else {
            return Ok(None);
        };
        match text.parse::<i64>() {
            Ok(millis) => Ok(u64::try_from(millis)
                .ok()
                .filter(|millis| *millis > 0)
                .map(Duration::from_millis)),
            Err(_) => Err(VariableError(format!(
                "strconv.Atoi: parsing {text:?}: invalid syntax"
            ))),
        }
    }

    /// What is exported is of: the id of the app, unless a variable has another name, and what else a variable tells.
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

/// `name=value`, with escapes in the value. What is wrong may be a secret, so the error does not show it.
fn header(pair: &str) -> Result<(String, String), VariableError> {
    let Some((name, value)) = pair.split_once('=') else {
        return Err(VariableError("missing '=' parse headers input".to_owned()));
    };
    let name = name.trim();
    if name.is_empty() {
        return Err(VariableError("a header without a name".to_owned()));
    }
    let value = percent_decode_str(value.trim()).decode_utf8();
    match value {
        Ok(value) => Ok((name.to_owned(), value.into_owned())),
        Err(_) => Err(VariableError(format!(
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
    }

    #[test]
    fn endpoints() {
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        for (known, wanted) in [
            (&[][..], None),
            (&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "x:1")], None),
            (&[(ALL, "")], None),
            (&[(ALL, "c:1")], Some(("c:1", "/usual", false))),
            (&[(ALL, "http://c:1")], Some(("c:1", "/usual", true))),
            (&[(ALL, "https://c:1/")], Some(("c:1", "/usual", false))),
            (&[(ALL, "http://c:1/base/")], Some(("c:1", "/base/usual", true))),
            (&[(OWN, "http://c:1/")], Some(("c:1", "/usual", true))),
            (
                &[(OWN, "https://c:1/in/"), (ALL, "http://x:2")],
                Some(("c:1", "/in", false)),
            ),
            (
                &[(OWN, ""), (ALL, "http://[::1]:2/a/b")],
                Some(("[::1]:2", "/a/b/usual", true)),
            ),
        ] {
            let found = variables(known).endpoint("/usual");
            let found = found
                .as_ref()
                .map(|found| (&*found.authority, &*found.path, found.is_plain));
            assert_eq!(found, wanted, "{known:?}");
        }
    }

    #[test]
    fn words() {
        let all = |text| {
            let known = [
                ("OTEL_EXPORTER_OTLP_PROTOCOL", text),
                ("OTEL_EXPORTER_OTLP_INSECURE", text),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", text),
            ];
            let variables = variables(&known);
            (
                variables.is_http(),
                variables.is_insecure(),
                variables.is_packed(),
            )
        };
        for (text, wanted) in [
            ("", (false, false, false)),
            ("grpc", (false, false, false)),
            ("http/protobuf", (true, false, false)),
            ("http/json", (true, false, false)),
            ("TRUE", (false, true, false)),
            ("gzip", (false, false, true)),
            ("none", (false, false, false)),
        ] {
            assert_eq!(all(text), wanted, "{text}");
        }
        let known = [("OTEL_EXPORTER_OTLP_CERTIFICATE", "/not/there")];
        assert!(variables(&known).roots().is_err());
        assert_eq!(variables(&[]).roots(), Ok(None));
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
