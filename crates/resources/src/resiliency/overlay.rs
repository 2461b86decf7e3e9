//! What an annotation adds to a resource.
//!
//! Kubernetes drops every field that the definition of a resource does not name, so that fields which Dapr does not know
//! would never arrive. Annotations do: Dapr's operator sends them with the resource. One of them holds what is to be
//! added to `spec`, as YAML, in the shape of `spec`.

use serde_json::{Map, Value};

use crate::yaml::first_document;

/// The annotation.
const ANNOTATION: &str = "daprd-rs/resiliency";

/// Adds what the annotation has to `spec`. It may change nothing: what stands in both is a mistake, since Dapr's
/// sidecars would go by one and this one by the other.
pub(super) fn apply(document: &mut Value) -> Result<(), String> {
    let Some(text) = annotation(document) else {
        return Ok(());
    };
    let place = format!("metadata.annotations.{ANNOTATION}");
    let added = match text {
        Value::String(text) => first_document(&text).map_err(|error| format!("{place}: {error}"))?,
        _ => return Err(format!("{place} is no text")),
    };
    let added = match added {
        Value::Object(added) => added,
        Value::Null => return Ok(()),
        _ => return Err(format!("{place} is no map in the shape of spec")),
    };
    let Some(fields) = document.as_object_mut() else {
        return Ok(());
    };
    let spec = field(fields, "spec");
    if spec.is_null() {
        *spec = Value::Object(Map::new());
    }
    match spec {
        Value::Object(spec) => merge(spec, added, "spec").map_err(|why| format!("{place}: {why}")),
        // Whoever reads `spec` says what is wrong with it.
        _ => Ok(()),
    }
}

/// Where that stands.
pub(super) fn path() -> Vec<String> {
    ["metadata", "annotations", ANNOTATION].map(str::to_owned).into()
}

fn annotation(document: &Value) -> Option<Value> {
    let of = |value: &Value, name: &str| {
        let fields = value.as_object()?;
        let other = || fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        fields
            .get(name)
            .or_else(|| other().map(|(_, value)| value))
            .cloned()
    };
    of(&of(document, "metadata")?, "annotations")?
        .get(ANNOTATION)
        .cloned()
}

/// A field in its own spelling or in another one, or a new one.
fn field<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut Value {
    let known = if fields.contains_key(name) {
        None
    } else {
        fields.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
    };
    fields
        .entry(known.unwrap_or_else(|| name.to_owned()))
        .or_insert(Value::Null)
}

fn merge(into: &mut Map<String, Value>, added: Map<String, Value>, place: &str) -> Result<(), String> {
    for (name, value) in added {
        let place = format!("{place}.{name}");
        match (field(into, &name), value) {
            (Value::Object(into), Value::Object(added)) => merge(into, added, &place)?,
            (empty @ Value::Null, value) => *empty = value,
            _ => return Err(format!("{place} stands in the resource already")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::decode_resiliency;

    fn read(annotation: &str, spec: &str) -> Result<std::sync::Arc<crate::Resiliency>, String> {
        let annotation = serde_json::Value::from(annotation);
        let text = format!(
            "{{\"metadata\": {{\"name\": \"r\", \"annotations\": {{\"daprd-rs/resiliency\": {annotation}}}}}, \"spec\": {spec}}}"
        );
        let mut loaded = decode_resiliency(&[text], "me");
        loaded
            .resources
            .pop()
            .ok_or_else(|| format!("{:?}", loaded.troubles))
    }

    #[test]
    fn what_kubernetes_would_drop_comes_by_annotation() {
        let spec = r#"{"policies": {"retries": {"r": {"duration": "1s"}}}}"#;
        let read_one = read(
            "policies: {Retries: {r: {jitter: 0.2, budget: {percent: 20}}}}",
            spec,
        )
        .unwrap();
        let retry = &read_one.retries["r"];
        assert_eq!((retry.duration.as_str(), retry.jitter.as_str()), ("1s", "0.2"));
        assert_eq!(retry.budget.as_ref().unwrap().percent, Some(20));
        assert_eq!(read("", spec).unwrap().retries["r"].jitter, "");
        assert_eq!(
            read("policies: {timeouts: {t: 1s}}", "null").unwrap().timeouts["t"],
            "1s"
        );
    }

    #[test]
    fn what_it_cannot_add_is_told() {
        let spec = r#"{"policies": {"retries": {"r": {"duration": "1s"}}}}"#;
        for (annotation, wanted) in [
            (
                "policies: {retries: {r: {Duration: 2s}}}",
                "spec.policies.retries.r.Duration stands in the resource already",
            ),
            (
                "[1]",
                "metadata.annotations.daprd-rs/resiliency is no map in the shape of spec",
            ),
            ("a: b: c", "metadata.annotations.daprd-rs/resiliency: "),
            ("policies: 5", "spec.policies stands in the resource already"),
            ("targets: 5", "spec.targets is a number, where a map is expected"),
        ] {
            let error = read(annotation, spec).unwrap_err();
            assert!(error.contains(wanted), "{annotation}: {error}");
        }
        assert!(
            read("policies: {}", "5")
                .unwrap_err()
                .contains("spec is a number")
        );
    }
}
