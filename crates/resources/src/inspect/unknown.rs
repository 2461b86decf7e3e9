//! Fields that nobody reads: misspelt, in the wrong section, or of no effect here.

use serde_json::Value;

use crate::inspect::{Finding, Severity};
use crate::marked::{Content, Marked, Spot};
use crate::schema::INERT;

/// Where fields are looked for.
pub(super) struct Search<'a> {
    /// Whether names are compared with regard to case.
    pub(super) is_exact: bool,
    pub(super) found: &'a mut dyn FnMut(Spot, Finding),
}

impl Search<'_> {
    /// Holds a node against the schema of its section.
    pub(super) fn look(&mut self, node: &Marked, schema: &Value, path: &str) {
        for case in schema["anyOf"].as_array().into_iter().flatten() {
            self.look(node, case, path);
        }
        match &node.content {
            Content::Scalar => {}
            Content::List(items) => {
                if schema["items"].is_object() {
                    for (index, item) in items.iter().enumerate() {
                        self.look(item, &schema["items"], &join(path, &index.to_string()));
                    }
                }
            }
            Content::Map(fields) => {
                for (index, (key, value)) in fields.iter().enumerate() {
                    let place = join(path, &key.name);
                    if fields[..index]
                        .iter()
                        .any(|(other, _)| self.is_same(&other.name, &key.name))
                    {
                        let text = format!("{place} stands here for the second time, the last one counts");
                        (self.found)(key.at, Finding::new(Severity::Warning, "duplicate-key", text));
                    }
                    self.field(key.at, &key.name, value, schema, &place);
                }
            }
        }
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        one == other || (!self.is_exact && one.eq_ignore_ascii_case(other))
    }

    fn field(&mut self, at: Spot, name: &str, value: &Marked, schema: &Value, place: &str) {
        let known = schema["properties"].as_object();
        let mut fields = known.into_iter().flatten();
        if let Some((_, section)) = fields.find(|(known, _)| self.is_same(known, name)) {
            if section.get(INERT).is_some() {
                let text = format!("{place} has no effect in this sidecar");
                (self.found)(at, Finding::new(Severity::Note, "no-effect", text));
            }
            self.look(value, section, place);
        } else if schema["additionalProperties"].is_object() {
            self.look(value, &schema["additionalProperties"], place);
        } else if let Some(known) = known {
            let section = place.strip_suffix(name).unwrap_or_default().trim_end_matches('.');
            let text = if section.is_empty() {
                format!("a resource has no field {name:?}")
            } else {
                format!("{section} has no field {name:?}")
            };
            let finding = Finding::new(Severity::Warning, "unknown-field", text);
            (self.found)(at, finding.near(name, known.keys().map(String::as_str)));
        }
    }
}

fn join(path: &str, step: &str) -> String {
    if path.is_empty() {
        step.to_owned()
    } else {
        format!("{path}.{step}")
    }
}
