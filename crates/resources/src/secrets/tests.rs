use std::sync::Arc;

use super::*;
use crate::{Filter, HttpEndpoint, decode_resources};

fn component(kind: &str, metadata: &[(&str, &str)]) -> Component {
    Component {
        kind: kind.to_owned(),
        metadata: metadata
            .iter()
            .map(|(name, value)| Item {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                ..Item::default()
            })
            .collect(),
        ..Component::default()
    }
}

fn file_store(text: &str, more: &[(&str, &str)]) -> Result<SecretStore, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.json");
    fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let metadata = [&[("SecretsFile", path.as_str())], more].concat();
    SecretStore::of(&component("secretstores.local.file", &metadata))
        .map(Option::unwrap)
        .map_err(|error| error.to_string().replace(&path, "FILE"))
}

#[test]
fn a_file_of_secrets() {
    let text = r#"{"a": "1", "b": {"c": "2", "d": ["x", {"e": true}]}, "n": null, "f": 1.5}"#;
    let of = |store: &SecretStore, name: &str, key: &str| store.get(name, key, |_| None);
    let single = file_store(text, &[]).unwrap();
    for (name, wanted) in [
        ("a", Ok("1")),
        ("b:c", Ok("2")),
        ("b:d:0", Ok("x")),
        ("b:d:1:e", Ok("true")),
        ("n", Ok("")),
        ("f", Ok("1.5")),
        ("b", Err("secret b not found")),
        ("z", Err("secret z not found")),
    ] {
        let got = of(&single, name, name);
        assert_eq!(got, wanted.map(str::to_owned).map_err(str::to_owned), "{name}");
    }
    assert_eq!(of(&single, "a", "other"), Ok(String::new()));
    let dotted = file_store(text, &[("nestedSeparator", ".")]).unwrap();
    assert_eq!(of(&dotted, "b.d.0", "b.d.0"), Ok("x".to_owned()));
    let multi = file_store(text, &[("multiValued", "true")]).unwrap();
    assert_eq!(of(&multi, "b", "d:1:e"), Ok("true".to_owned()));
    assert_eq!(of(&multi, "a", "a"), Ok("1".to_owned()));
    assert!(of(&multi, "f", "f").is_err());
    assert_eq!(format!("{multi:?}"), "File(2 secrets)");
}

#[test]
fn stores_that_cannot_be_set_up() {
    assert!(file_store("[]", &[]).unwrap_err().starts_with("FILE: "));
    assert!(file_store("{", &[]).unwrap_err().starts_with("FILE: "));
    let of = |metadata: &[(&str, &str)]| {
        SecretStore::of(&component("secretstores.local.file", metadata))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(of(&[]), "missing local secrets file in metadata");
    assert!(of(&[("secretsFile", "/nowhere/x")]).starts_with("open /nowhere/x: "));
    assert!(
        SecretStore::of(&component("secretstores.azure.keyvault", &[]))
            .unwrap()
            .is_none()
    );
    let mut newer = component("secretstores.local.env", &[]);
    newer.version = "v2".to_owned();
    assert!(SecretStore::of(&newer).unwrap().is_none());
}

fn lookup(name: &str) -> Option<String> {
    matches!(name, "X" | "P_X" | "DAPR_API_TOKEN" | "APP_API_TOKEN").then(|| format!("value of {name}"))
}

#[test]
fn the_environment_as_a_store() {
    let of = |prefix: &str, name: &str, key: &str| {
        let store = SecretStore::of(&component("SecretStores.Local.Env", &[("prefix", prefix)]));
        store.unwrap().unwrap().get(name, key, lookup)
    };
    assert_eq!(of("", "X", "X"), Ok("value of X".to_owned()));
    assert_eq!(of("P_", "X", "X"), Ok("value of P_X".to_owned()));
    assert_eq!(of("", "X", "Y"), Ok(String::new()));
    assert_eq!(of("", "Y", "Y"), Ok(String::new()));
    assert!(of("", "APP_API_TOKEN", "APP_API_TOKEN").is_err());
    assert!(of("dapr_", "api_token", "api_token").is_err());
}

fn endpoint(json: &str) -> HttpEndpoint {
    let filter = Filter {
        namespace: "",
        app_id: "",
    };
    let decoded: Vec<Arc<HttpEndpoint>> = decode_resources(&[json], filter).unwrap();
    HttpEndpoint::clone(&decoded[0])
}

fn values(endpoint: &mut HttpEndpoint) -> Vec<Option<String>> {
    endpoint
        .items_mut()
        .iter()
        .map(|item| item.value.clone())
        .collect()
}

fn owned(values: [Option<&str>; 5]) -> Vec<Option<String>> {
    values.map(|value| value.map(str::to_owned)).into()
}

#[test]
fn references_in_standalone_mode() {
    let json = r#"{"metadata":{"name":"e"},"auth":{"secretStore":"s"},"spec":{
        "headers":[{"name":"a","envRef":"X"},{"name":"b","secretKeyRef":{"name":"t","key":"k"}}],
        "clientTLS":{"rootCA":{"value":"given"},"certificate":{"secretKeyRef":{"name":"u"}},
        "privateKey":{"secretKeyRef":{"name":"missing"}}}}}"#;
    let store = file_store(r#"{"t": {"k": "1"}, "u": "2"}"#, &[("multiValued", "1")]).unwrap();
    let source = SecretSource {
        stores: HashMap::from([("s".to_owned(), store)]),
        ..SecretSource::default()
    };
    let mut resolved = endpoint(json);
    let warnings = texts(source.resolve(&mut resolved, lookup));
    assert_eq!(
        values(&mut resolved),
        owned([Some("value of X"), Some("1"), Some("given"), Some("2"), None])
    );
    assert_eq!(
        warnings,
        ["Error getting secret: HTTPEndpoint e: secret missing not found"]
    );
    let source = SecretSource {
        allowed_variables: "Y".to_owned(),
        ..SecretSource::default()
    };
    let mut unresolved = endpoint(json);
    assert_eq!(
        texts(source.resolve(&mut unresolved, lookup)),
        [
            "HTTPEndpoint e references an env variable that isn't allowed: X",
            "HTTPEndpoint e references a secret store that isn't loaded: s"
        ]
    );
    assert_eq!(
        values(&mut unresolved),
        owned([None, None, Some("given"), None, None])
    );
}

#[test]
fn references_in_kubernetes() {
    let json = r#"{"metadata":{"name":"e"},"spec":{
        "headers":[{"name":"a","value":"plain"},{"name":"b","value":"eWVz","secretKeyRef":{"name":"t","key":"k"}}],
        "clientTLS":{"rootCA":{"value":"!","secretKeyRef":{"name":"t"}},
        "certificate":{"value":"/w==","secretKeyRef":{"name":"t"}}}}}"#;
    let source = SecretSource {
        is_kubernetes: true,
        ..SecretSource::default()
    };
    let mut resolved = endpoint(json);
    let warnings = texts(source.resolve(&mut resolved, lookup));
    assert_eq!(
        values(&mut resolved),
        owned([Some("plain"), Some("yes"), Some("!"), Some("/w=="), None])
    );
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("Error decoding secret: HTTPEndpoint e, rootCA: "));
    let other = json.replacen("\"spec\"", "\"auth\":{\"secretStore\":\"vault\"},\"spec\"", 1);
    assert_eq!(
        texts(source.resolve(&mut endpoint(&other), lookup)),
        ["HTTPEndpoint e references a secret store that isn't loaded: vault"]
    );
}

fn texts(unresolved: Vec<Unresolved>) -> Vec<String> {
    unresolved.iter().map(ToString::to_string).collect()
}
