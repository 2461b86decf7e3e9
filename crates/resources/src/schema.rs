//! JSON Schemas of the kinds that are read, made from the types that read them.
//!
//! What a type reads is in its schema by its derive. Added here is what no type tells: that a text may be written as any
//! scalar, that nothing stands for a section that is left out, and the fields that Dapr has and this sidecar passes over.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::component::{Component, Spec as ComponentSpec};
use crate::configuration::Document as ConfigurationDocument;
use crate::document::Document;
use crate::http_endpoint::{HttpEndpoint, Spec as EndpointSpec};
use crate::manifest::{API_VERSION, CONFIGURATION, Resource};
use crate::resiliency::{self, Resiliency};

/// The kinds that have a schema.
pub const SCHEMA_KINDS: [&str; 4] = [
    Component::KIND,
    CONFIGURATION,
    HttpEndpoint::KIND,
    Resiliency::KIND,
];

/// What marks a field that is known and has no effect in this sidecar.
pub(crate) const INERT: &str = "x-no-effect";

/// What Kubernetes has in the metadata of every resource.
const METADATA: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Fields of Dapr that are passed over, by the section that has them.
const PASSED_OVER: &[(&str, &str, &[&str])] = &[
    (Component::KIND, "/properties/spec", &["initTimeout"]),
    (HttpEndpoint::KIND, "/properties/spec", &["version"]),
    (CONFIGURATION, "/properties/spec", &["mtls", "wasm", "workflow"]),
    (
        CONFIGURATION,
        "/properties/spec/properties/httpPipeline/properties/handlers/items",
        &["selector"],
    ),
    (
        CONFIGURATION,
        "/properties/spec/properties/appHttpPipeline/properties/handlers/items",
        &["selector"],
    ),
    (
        CONFIGURATION,
        "/properties/spec/properties/secrets/properties/scopes/items",
        &["allowedSecrets", "deniedSecrets"],
    ),
];

/// The schema of a kind, which is written exactly as in [`SCHEMA_KINDS`]. Draft 7, which editors know best.
pub fn schema(kind: &str) -> Option<Value> {
    let mut schema = match kind {
        Component::KIND => of::<Document<ComponentSpec>>(),
        HttpEndpoint::KIND => of::<Document<EndpointSpec>>(),
        CONFIGURATION => of::<ConfigurationDocument>(),
        Resiliency::KIND => resiliency::schema(),
        _ => return None,
    };
    head(&mut schema, kind);
    finish(&mut schema, true);
    for (of, section, names) in PASSED_OVER {
        if *of == kind {
            pass_over(&mut schema, section, names);
        }
    }
    Some(schema)
}

/// One schema for whatever a file of resources may have: the kind of a document says which of the schemas it is held to.
pub fn schema_of_all() -> Value {
    let cases = SCHEMA_KINDS.iter().filter_map(|kind| {
        let mut then = schema(kind)?;
        let fields = then.as_object_mut()?;
        fields.remove("$schema");
        let condition = json!({ "properties": { "kind": { "const": kind } }, "required": ["kind"] });
        Some(json!({ "if": condition, "then": then }))
    });
    json!({
        "$schema": DRAFT,
        "title": "Resources of a sidecar",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "allOf": cases.collect::<Vec<_>>(),
    })
}

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The sections below a schema.
fn below(schema: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    let mut sections = Vec::new();
    for (keyword, value) in schema {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(fields)) => sections.extend(fields.values_mut()),
            ("anyOf", Value::Array(cases)) => sections.extend(cases),
            ("items" | "additionalProperties", section @ Value::Object(_)) => sections.push(section),
            _ => {}
        }
    }
    sections.into_iter()
}

/// Puts in what no type tells.
fn finish(schema: &mut Value, is_root: bool) {
    let Value::Object(fields) = schema else {
        return;
    };
    fields.remove("default");
    fields.remove("format");
    if !is_root {
        for keyword in ["$schema", "required", "title"] {
            fields.remove(keyword);
        }
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.replace(['[', ']'], "").replace('\n', " ");
    }
    if fields.contains_key("properties") {
        fields.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    let is_of = |wanted: &str| match fields.get("type") {
        Some(Value::String(kind)) => kind == wanted,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == wanted),
        _ => false,
    };
    if is_of("boolean") {
        fields.remove("type");
        fields.insert("anyOf".to_owned(), booleans());
        return;
    }
    if is_of("string") && !fields.contains_key("pattern") {
        fields.insert("type".to_owned(), json!(["string", "number", "boolean", "null"]));
    } else if is_of("integer") {
        fields.insert("type".to_owned(), json!(["integer", "null"]));
    } else if is_of("array") {
        fields.insert("type".to_owned(), json!(["array", "null"]));
    } else if is_of("object") && !is_root {
        fields.insert("type".to_owned(), json!(["object", "null"]));
    }
    for section in below(fields) {
        finish(section, false);
    }
}

/// How a switch may be written.
fn booleans() -> Value {
    let words = ["y", "yes", "on", "true", "n", "no", "off", "false"];
    let spellings = words.iter().flat_map(|word| {
        let title = word[..1].to_uppercase() + &word[1..];
        [(*word).to_owned(), title, word.to_uppercase()]
    });
    let mut spellings: Vec<String> = spellings.collect();
    spellings.dedup();
    json!([{ "type": ["boolean", "null"] }, { "enum": spellings }])
}

/// Version, kind, and what Kubernetes adds.
fn head(schema: &mut Value, kind: &str) {
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!(kind);
    schema["required"] = json!(["apiVersion", "kind"]);
    let fields = &mut schema["properties"];
    fields["apiVersion"] = json!({ "const": API_VERSION });
    fields["kind"] = json!({ "const": kind });
    fields["status"] = json!({ INERT: true });
    if fields.get("metadata").is_none() {
        fields["metadata"] = json!({
            "type": "object",
            "properties": { "name": { "type": "string" }, "namespace": { "type": "string" } },
        });
    }
    for name in METADATA {
        fields["metadata"]["properties"][name] = json!({});
    }
}

fn pass_over(schema: &mut Value, section: &str, names: &[&str]) {
    if let Some(fields) = schema
        .pointer_mut(section)
        .and_then(|section| section.get_mut("properties"))
    {
        for name in names {
            fields[name] = json!({ "description": "No effect in this sidecar.", INERT: true });
        }
    }
}

#[cfg(test)]
mod tests;
