//! All that is wrong with a file, for whoever wrote it.
//!
//! A sidecar that reads resources stops at the first mistake of a document, and says nothing about names that nobody
//! reads. [`inspect`] reads with the same parsers and types and goes on: it takes what cannot be read out of the document
//! and reads again, until nothing is left to complain about. What can be read comes with the places of its fields, so that
//! others can tell where something stands that is wrong in what it means.

mod finding;
mod placer;
mod unknown;

use std::borrow::Cow;

use serde_json::Value;

use crate::access::without_empty_scalars;
use crate::component::Component;
use crate::configuration::{Configuration, layered};
use crate::encoding;
use crate::expand::expand_environment;
use crate::field_error::FieldError;
use crate::http_endpoint::HttpEndpoint;
use crate::manifest::{API_VERSION, CONFIGURATION, KINDS, Resource, lower_keys, strange, typed};
use crate::marked::{Marked, Spot, marked};
use crate::resiliency::{Resiliency, kind_of};
use crate::schema::schema;
use crate::yaml::{MAX_FILE, first, is_empty, options, split};

pub use finding::{Finding, Place, Severity};
use placer::{Expanded, Placer, place_of};
use unknown::Search;

/// As many fields of a document that cannot be read are told.
const MOST: usize = 100;
/// As many nodes are read again because of them, so that a large document with many mistakes takes no time to speak of.
const MOST_NODES: usize = 500_000;
/// As many fields are told however large the document is.
const LEAST: usize = 5;

/// What was found in a file.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The documents that could be read, as far as they could.
    pub documents: Vec<Inspected>,
    /// What is wrong with them and with the others.
    pub findings: Vec<Finding>,
}

/// A document, and where its fields stand.
#[derive(Debug)]
pub struct Inspected {
    /// What it is.
    pub content: Content,
    marks: Marked,
    placer: Placer,
}

/// What a document is.
#[derive(Debug)]
pub enum Content {
    /// A component.
    Component(Component),
    /// An endpoint outside of the mesh.
    HttpEndpoint(Box<HttpEndpoint>),
    /// Policies.
    Resiliency(Box<Resiliency>),
    /// A configuration, to be laid over others by [`layered_configuration`].
    Configuration(Value),
}

impl Inspected {
    /// Where a field stands: the last step that is there of a way of keys and positions.
    pub fn place(&self, path: &[impl AsRef<str>]) -> Place {
        self.placer.place(self.marks.find(path).0)
    }

    /// Whether the document has the field.
    pub fn has(&self, path: &[impl AsRef<str>]) -> bool {
        self.marks.has(path)
    }
}

impl Inspection {
    /// What is wrong, in the order of places.
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.place);
        findings
    }

    fn tell(&mut self, place: Place, severity: Severity, rule: &'static str, text: impl Into<String>) {
        self.findings.push(Finding::new(severity, rule, text).at(place));
    }
}

/// Bytes as the text that they are; the finding says why they are none.
///
/// # Errors
/// The bytes are neither UTF-8 nor UTF-16, or more than a sidecar reads.
pub fn text_of(bytes: &[u8]) -> Result<Cow<'_, str>, Box<Finding>> {
    let refused = |rule, text: String| Box::new(Finding::new(Severity::Error, rule, text));
    if bytes.len() as u64 > MAX_FILE {
        let text = format!("the file has more than {MAX_FILE} bytes, which is the most that is read");
        return Err(refused("file", text));
    }
    if let Some(text) = encoding::wide(bytes) {
        return text
            .map(Cow::Owned)
            .map_err(|error| refused("encoding", error.to_string()));
    }
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let place = place_of(&String::from_utf8_lossy(before), before.len());
        let text = format!("the byte {:#04x} is no UTF-8", bytes[error.valid_up_to()]);
        Box::new(refused("encoding", text).at(place))
    })
}

/// Reads a file of resources, or one whose first document is a configuration. `name` is how errors name it; `lookup` finds
/// the variables of configurations.
pub fn inspect(name: &str, text: &str, lookup: impl Fn(&str) -> Option<String>) -> Inspection {
    if is_configuration(text, &lookup) {
        return inspect_configuration(name, text, lookup);
    }
    let mut inspection = Inspection::default();
    for (index, document) in split(text).into_iter().enumerate() {
        if is_empty(document) {
            continue;
        }
        let offset = document.as_ptr() as usize - text.as_ptr() as usize;
        let lines = text[..offset].matches('\n').count();
        resource(
            name,
            document,
            index == 0 || is_empty(&text[..offset]),
            lines,
            &mut inspection,
        );
    }
    inspection
}

/// Whether the first document is a configuration. Those that name none are not read for it.
fn is_configuration(text: &str, lookup: impl Fn(&str) -> Option<String>) -> bool {
    let expanded = expand_environment(text, lookup);
    if !expanded.contains(CONFIGURATION) {
        return false;
    }
    let head: Option<Value> = serde_saphyr::from_str_with_options(first(&expanded), options(false)).ok();
    head.as_ref().and_then(kind_of) == Some(CONFIGURATION)
}

/// Reads a file of a configuration, as `--config` names it.
pub fn inspect_configuration(name: &str, text: &str, lookup: impl Fn(&str) -> Option<String>) -> Inspection {
    let mut inspection = Inspection::default();
    let expanded = Expanded::of(text, lookup, |variable, place| {
        let text = format!("the variable {variable:?} is not set here, nothing stands in its place");
        inspection.tell(place, Severity::Warning, "variable", text);
    });
    let document = first(&expanded.text).to_owned();
    if document.len() < expanded.text.len() && !is_empty(&expanded.text[document.len()..]) {
        let place = Placer::Lines(document.matches('\n').count()).place(Spot::default());
        let text = "of a configuration only the first document is read";
        inspection.tell(place, Severity::Warning, "document", text);
    }
    let placer = Placer::Expanded(Box::new(expanded));
    if is_empty(&document) {
        inspection.tell(
            Place::default(),
            Severity::Warning,
            "document",
            "there is no document",
        );
        return inspection;
    }
    let Some((mut value, marks)) = parsed(&document, true, &placer, &mut inspection) else {
        return inspection;
    };
    if !value.is_object() {
        let place = placer.place(marks.at);
        inspection.tell(place, Severity::Error, "type", "the document: expected a map");
        return inspection;
    }
    match kind_of(&value) {
        Some(CONFIGURATION) => {}
        None => inspection.tell(
            placer.place(marks.at),
            Severity::Warning,
            "kind",
            "the document has no kind; expected \"kind: Configuration\"",
        ),
        Some(other) => {
            let place = placer.place(marks.find(&["kind"]).0);
            let text = format!("a {other} is given as a configuration; expected \"kind: Configuration\"");
            inspection.tell(place, Severity::Warning, "kind", text);
        }
    }
    without_empty_scalars(&mut value);
    let read = |value: Value| {
        let read = layered(vec![(name.to_owned(), value)]);
        read.map_err(|error| Box::new(FieldError::from(*error)))
    };
    let mut reader = Reader {
        marks: &marks,
        placer: &placer,
        inspection: &mut inspection,
    };
    let is_read = reader.read(&mut value, read).is_some();
    reader.names(CONFIGURATION, true);
    if is_read {
        let content = Content::Configuration(value);
        inspection.documents.push(Inspected {
            content,
            marks,
            placer,
        });
    }
    inspection
}

/// Lays the configurations of documents one over the other, as those of several `--config` are. Of documents that were
/// inspected, what could not be read is left out.
///
/// # Errors
/// None for inspected documents.
pub fn layered_configuration(documents: Vec<Value>) -> Option<Configuration> {
    let documents = documents.into_iter().map(|document| (String::new(), document));
    layered(documents.collect()).ok()
}

/// Reads one document among resources.
fn resource(name: &str, document: &str, is_first: bool, lines: usize, inspection: &mut Inspection) {
    let placer = Placer::Lines(lines);
    let Some((value, marks)) = parsed(document, false, &placer, inspection) else {
        return;
    };
    let mut lowered = lower_keys(value.clone());
    let version = lowered["apiversion"].as_str();
    let kind = kind_of(&value).unwrap_or_default().to_owned();
    let mut reader = Reader {
        marks: &marks,
        placer: &placer,
        inspection,
    };
    let content = match kind.as_str() {
        // Policies are read whatever their version, and only in front of all others.
        Resiliency::KIND => {
            if !is_first {
                let at = reader.place(&["kind"]);
                let text = "policies are read from the first document of a file only, this is another one";
                reader.inspection.tell(at, Severity::Error, "document", text);
            }
            let mut value = value;
            let read = |value| Resiliency::of(value).map_err(Box::new);
            let read = reader.read(&mut value, read);
            read.map(|resource| Content::Resiliency(Box::new(resource)))
        }
        Component::KIND if version == Some(API_VERSION) => reader
            .read(&mut lowered, |value| typed(name, value))
            .map(Content::Component),
        HttpEndpoint::KIND if version == Some(API_VERSION) => reader
            .read(&mut lowered, |value| typed(name, value))
            .map(|endpoint| Content::HttpEndpoint(Box::new(endpoint))),
        _ => {
            reader.other(&kind, &lowered);
            return;
        }
    };
    reader.names(&kind, false);
    if let Some(content) = content {
        inspection.documents.push(Inspected {
            content,
            marks,
            placer,
        });
    }
}

/// A document, and the same with its places, unless it is no YAML.
fn parsed(
    document: &str,
    is_strict: bool,
    placer: &Placer,
    inspection: &mut Inspection,
) -> Option<(Value, Marked)> {
    let read = serde_saphyr::from_str_with_options::<Value>(document, options(is_strict));
    let read = read.and_then(|value| Ok((value, marked(document, is_strict)?)));
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            let location = error.location();
            let spot = location.as_ref().map(Spot::of).unwrap_or_default();
            let text = error.without_snippet().to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            // The place is told, and it is that in the file.
            let line = line.split(" at line ").next().unwrap_or_default();
            let line = line.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
            let text = format!("this is no YAML: {line}");
            inspection.tell(placer.place(spot), Severity::Error, "yaml", text);
            None
        }
    }
}

/// Reads a document as what it is.
struct Reader<'a> {
    marks: &'a Marked,
    placer: &'a Placer,
    inspection: &'a mut Inspection,
}

impl Reader<'_> {
    fn place(&self, path: &[impl AsRef<str>]) -> Place {
        self.placer.place(self.marks.find(path).0)
    }

    /// Reads until nothing is left that cannot be read; `document` is then without it.
    fn read<T>(
        &mut self,
        document: &mut Value,
        read: impl Fn(Value) -> Result<T, Box<FieldError>>,
    ) -> Option<T> {
        let nodes = self.marks.nodes();
        let mut taken_out: Vec<Vec<String>> = Vec::new();
        for attempt in 0..MOST {
            let error = match read(document.clone()) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let place = self.place(&error.path);
            let spelled = self.marks.spelled(&error.path).join(".");
            let subject = if spelled.is_empty() {
                "the document"
            } else {
                &spelled
            };
            // What was taken out already may still be wrong for what is around it.
            let mut path = error.path.clone();
            if let Some((name, known)) = &error.unknown {
                let mut section = self.marks.spelled(&error.path);
                section.truncate(error.path.len().saturating_sub(1));
                let section = section.join(".");
                let known = *known;
                let text = format!(
                    "{section} has no field {name:?}; expected one of {}",
                    known.join(", ")
                );
                let finding = Finding::new(Severity::Error, "unknown-field", text).at(place);
                let finding = finding.near(name, known.iter().copied());
                self.inspection.findings.push(finding);
                if take_out(document, &path, true) {
                    continue;
                }
                return None;
            }
            if !taken_out.contains(&path) {
                let text = format!("{subject}: {}", error.reason);
                self.inspection.tell(place, Severity::Error, "type", text);
            }
            while taken_out.contains(&path) && !path.is_empty() {
                path.pop();
            }
            if path.is_empty() || !take_out(document, &path, false) {
                return None;
            }
            taken_out.push(path);
            if attempt >= LEAST && attempt * nodes > MOST_NODES {
                break;
            }
        }
        let text = "there may be more that cannot be read; mend what is told first";
        self.inspection
            .tell(self.place(&[""; 0]), Severity::Error, "type", text);
        None
    }

    /// Tells of names that nobody reads.
    fn names(&mut self, kind: &str, is_exact: bool) {
        let Some(mut schema) = schema(kind) else {
            return;
        };
        if kind == CONFIGURATION {
            // Nobody reads it, so nobody minds what is in it.
            schema["properties"]["metadata"] = Value::Object(serde_json::Map::new());
        }
        let (placer, inspection) = (self.placer, &mut *self.inspection);
        let mut found = |at, finding: Finding| {
            let finding = finding.at(placer.place(at));
            // Where nobody else can have meant a field, reading has told of it already.
            let is_told = |told: &Finding| told.place == finding.place && told.rule == finding.rule;
            if !inspection.findings.iter().any(is_told) {
                inspection.findings.push(finding);
            }
        };
        let mut search = Search {
            is_exact,
            found: &mut found,
        };
        search.look(self.marks, &schema, "");
    }

    /// A document of no kind that is read here.
    fn other(&mut self, kind: &str, lowered: &Value) {
        if let Some(why) = strange(lowered) {
            let is_kind = lowered["apiversion"] == API_VERSION && !kind.is_empty();
            let place = self.place(&[if is_kind { "kind" } else { "apiVersion" }]);
            let mut finding = Finding::new(Severity::Warning, "kind", why).at(place);
            if is_kind {
                finding = finding.near(kind, KINDS);
            }
            self.inspection.findings.push(finding);
        } else if KINDS.contains(&kind) {
            let place = self.place(&["kind"]);
            let text = if kind == CONFIGURATION {
                "a configuration behind other resources has no effect; give it a file of its own".to_owned()
            } else {
                format!("a {kind} has no effect in this sidecar")
            };
            self.inspection.tell(place, Severity::Note, "no-effect", text);
        }
    }
}

/// Puts nothing in the place of a value; of a field that there is none of, the name goes, too.
fn take_out(document: &mut Value, path: &[String], is_unknown: bool) -> bool {
    let mut node = document;
    for (index, step) in path.iter().enumerate() {
        if is_unknown && index + 1 == path.len() {
            let fields = node.as_object_mut();
            return fields.is_some_and(|fields| fields.remove(step).is_some());
        }
        let next = match node {
            Value::Array(items) => step.parse().ok().and_then(|index: usize| items.get_mut(index)),
            Value::Object(fields) => {
                let key = fields.keys().find(|key| *key == step);
                let key = key.or_else(|| fields.keys().find(|key| key.eq_ignore_ascii_case(step)));
                let key = key.cloned();
                key.and_then(|key| fields.get_mut(&key))
            }
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => return false,
        }
    }
    *node = Value::Null;
    true
}

#[cfg(test)]
mod tests;
