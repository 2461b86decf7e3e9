use super::*;
use crate::inspect::inspect;

/// A way to a field: keys, and `0` for an item of a list or `any` for an entry of a map.
type Way = Vec<String>;

/// The fields of a schema that are no sections, and whether they are passed over.
fn leaves(schema: &Value, way: Way, into: &mut Vec<(Way, Value)>) {
    into.push((way.clone(), schema.clone()));
    let then = |step: &str| [way.clone(), vec![step.to_owned()]].concat();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        leaves(field, then(name), into);
    }
    if schema["additionalProperties"].is_object() {
        leaves(&schema["additionalProperties"], then("any"), into);
    }
    if schema["items"].is_object() {
        leaves(&schema["items"], then("0"), into);
    }
    for case in schema["anyOf"].as_array().into_iter().flatten() {
        leaves(case, way.clone(), into);
    }
}

/// Sections that are read by whoever uses them, and not here: `daprd check` tells of mistakes in them by other rules.
fn is_read_elsewhere(way: &[String]) -> bool {
    let starts_with = |section: &[&str]| {
        let steps = way.iter().take(section.len()).map(String::as_str);
        steps.eq(section.iter().copied())
    };
    starts_with(&["spec", "routing"]) || starts_with(&["spec", "nameResolution", "balancing"])
}

/// A document whose only field is this one.
fn document(kind: &str, way: &[String], value: Value) -> String {
    let mut node = value;
    for step in way.iter().rev() {
        node = if step == "0" {
            json!([node])
        } else {
            json!({ step: node })
        };
    }
    node["apiVersion"] = json!(API_VERSION);
    node["kind"] = json!(kind);
    node.to_string()
}

/// A value that nobody takes who wants something like this.
fn wrong(schema: &Value) -> Option<Value> {
    let kinds = schema["type"].to_string();
    if schema["pattern"].is_string() {
        Some(json!([]))
    } else if kinds.contains("string") || kinds.contains("boolean") || kinds.contains("integer") {
        Some(json!({}))
    } else if kinds.contains("array") || kinds.contains("object") {
        Some(json!("a text"))
    } else {
        None
    }
}

/// Schemas and parsers are of one mind about every field: where a schema wants something, so does the parser.
#[test]
fn every_field_of_a_schema_is_read() {
    let mut count = 0;
    for kind in SCHEMA_KINDS {
        let schema = schema(kind).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mut fields = Vec::new();
        leaves(&schema, Vec::new(), &mut fields);
        for (way, field) in fields {
            if way.is_empty() || ["apiVersion", "kind"].contains(&way[0].as_str()) {
                continue;
            }
            // The metadata of a configuration is not looked at.
            if kind == CONFIGURATION && way[0] == "metadata" {
                continue;
            }
            let Some(value) = wrong(&field).filter(|_| !is_read_elsewhere(&way)) else {
                continue;
            };
            let text = document(kind, &way, value);
            assert!(
                !validator.is_valid(&serde_json::from_str(&text).unwrap()),
                "{text}"
            );
            let found = inspect("x.yaml", &text, |_| None);
            let findings = found.findings();
            assert!(
                findings.iter().any(|finding| finding.rule == "type"),
                "{text}: {findings:?}"
            );
            count += 1;
        }
    }
    assert!(count > 130, "{count}");
}

#[test]
fn nothing_at_all_is_allowed_everywhere() {
    for kind in SCHEMA_KINDS {
        let schema = schema(kind).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mut fields = Vec::new();
        leaves(&schema, Vec::new(), &mut fields);
        for (way, _) in fields {
            if way.is_empty()
                || way.contains(&"0".to_owned())
                || is_read_elsewhere(&way)
                || ["apiVersion", "kind"].contains(&way[0].as_str())
            {
                continue;
            }
            let text = document(kind, &way, Value::Null);
            let found = inspect("x.yaml", &text, |_| None);
            let findings = found.findings();
            assert!(
                !findings.iter().any(|finding| finding.rule == "type"),
                "{text}: {findings:?}"
            );
            assert!(
                validator.is_valid(&serde_json::from_str(&text).unwrap()),
                "{text}"
            );
        }
    }
}

#[test]
fn one_schema_for_all() {
    let validator = jsonschema::validator_for(&schema_of_all()).unwrap();
    for (text, wanted) in [
        (
            "{\"apiVersion\":\"dapr.io/v1alpha1\",\"kind\":\"Component\",\"spec\":{\"type\":\"state.redis\"}}",
            true,
        ),
        (
            "{\"apiVersion\":\"dapr.io/v1alpha1\",\"kind\":\"Component\",\"spec\":{\"typ\":\"state.redis\"}}",
            false,
        ),
        (
            "{\"apiVersion\":\"dapr.io/v1alpha1\",\"kind\":\"Subscription\",\"spec\":{\"typ\":\"x\"}}",
            true,
        ),
        (
            "{\"apiVersion\":\"dapr.io/v1alpha1\",\"kind\":\"Resiliency\",\"spec\":{\"targets\":[]}}",
            false,
        ),
        ("{\"kind\":\"Component\"}", false),
    ] {
        let document = serde_json::from_str(text).unwrap();
        assert_eq!(validator.is_valid(&document), wanted, "{text}");
    }
}

/// The resources of the examples on the pages.
fn examples() -> Vec<Value> {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let mut resources = Vec::new();
    for page in std::fs::read_dir(pages).unwrap() {
        let text = std::fs::read_to_string(page.unwrap().path()).unwrap_or_default();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let documents = crate::yaml::resource_documents(block).flatten();
            let is_resource = |document: &Value| SCHEMA_KINDS.iter().any(|kind| document["kind"] == *kind);
            resources.extend(documents.filter(is_resource));
        }
    }
    resources
}

/// Examples hold, and each of them with a section of another type does not.
#[test]
fn the_examples_of_the_pages() {
    let all = jsonschema::validator_for(&schema_of_all()).unwrap();
    let examples = examples();
    for kind in SCHEMA_KINDS {
        let of_kind = |example: &&Value| example["kind"] == kind;
        assert!(examples.iter().any(|example| of_kind(&example)), "{kind}");
    }
    for mut example in examples {
        let validator =
            jsonschema::validator_for(&schema(example["kind"].as_str().unwrap()).unwrap()).unwrap();
        for validator in [&all, &validator] {
            let errors: Vec<String> = validator
                .iter_errors(&example)
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{errors:?}\n{example:#}");
        }
        example["spec"] = json!(["a list"]);
        assert!(
            !validator.is_valid(&example) && !all.is_valid(&example),
            "{example:#}"
        );
    }
}
