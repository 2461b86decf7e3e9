//! What a policy sees of a request.

use std::collections::BTreeMap;

use http::header::{HOST, HeaderName};
use regorus::Value;

use crate::handler::Call;
use crate::request;

/// A request, with as much of its body as a policy is to see.
pub(super) struct Input<'a> {
    pub(super) call: &'a Call,
    pub(super) body: &'a [u8],
}

impl Input<'_> {
    /// The input document; of the headers it has those that are included.
    pub(super) fn value(&self, included: &[HeaderName]) -> Value {
        let request = &self.call.request;
        let path = text(&request::path(request));
        let raw_query = request::query(request).unwrap_or_default();
        let mut query: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
        for (name, value) in request::pairs(raw_query) {
            let values = query.entry(text(&name).into()).or_default();
            values.push(text(&value).into());
        }
        let query = query.into_iter().map(|(name, values)| (name, values.into()));
        let parts = path.trim_matches('/').split('/');
        let parts: Vec<Value> = parts.map(Value::from).collect();
        let fields: [(&str, Value); 8] = [
            ("method", request.method().as_str().into()),
            ("path", path.as_str().into()),
            ("path_parts", parts.into()),
            ("raw_query", text(raw_query).into()),
            ("query", query.collect::<BTreeMap<_, _>>().into()),
            ("headers", self.headers(included)),
            ("scheme", self.scheme().into()),
            ("body", text(self.body).into()),
        ];
        let fields: BTreeMap<Value, Value> = fields
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        BTreeMap::from([("request".into(), fields.into())]).into()
    }

    fn headers(&self, included: &[HeaderName]) -> Value {
        let headers = self.call.request.headers();
        // Go keeps the host apart from the headers.
        let included = included.iter().filter(|name| **name != HOST);
        let there = included.filter(|name| headers.contains_key(*name));
        let pairs = there.map(|name| {
            let lines = headers.get_all(name).into_iter();
            let lines: Vec<String> = lines.map(|line| text(line.as_bytes())).collect();
            (canonical(name).into(), lines.join(", ").into())
        });
        pairs.collect::<BTreeMap<Value, Value>>().into()
    }

    /// Nothing in front of the API, where Go does not know it.
    fn scheme(&self) -> &str {
        if self.call.peer.is_some() {
            return "";
        }
        self.call.request.uri().scheme_str().unwrap_or("http")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name of a header as Go writes it.
fn canonical(name: &HeaderName) -> String {
    let mut is_first = true;
    let letters = name.as_str().chars().map(|letter| {
        let letter = if is_first {
            letter.to_ascii_uppercase()
        } else {
            letter
        };
        is_first = letter == '-';
        letter
    });
    letters.collect()
}
