//! Resources as the operator of Kubernetes sends them: JSON, one by one.

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::access::without_empty_scalars;
use crate::configuration::{Configuration, ConfigurationError, of_documents};
use crate::manifest::{Filter, Resource, lower_keys, typed};

/// A resource that was received and cannot be read; the text names what it is, where it came from, and the field.
#[derive(Debug, Error)]
#[error("{origin}: {reason}")]
pub struct DecodeError {
    origin: String,
    reason: String,
}

/// Reads received resources and leaves out what is not for this sidecar. Kind and version are not looked at: the
/// operator leaves them out of lists.
///
/// # Errors
/// The first resource that cannot be read, by its position and its field.
pub fn decode_resources<R: Resource>(
    documents: &[impl AsRef<[u8]>],
    filter: Filter<'_>,
) -> Result<Vec<Arc<R>>, DecodeError> {
    let mut resources = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let origin = format!("{} {} of the operator", R::KIND, index + 1);
        let failed = |reason: String| DecodeError {
            origin: origin.clone(),
            reason,
        };
        let document = parse(document.as_ref()).map_err(failed)?;
        let resource: R = typed(&origin, lower_keys(document)).map_err(|error| failed(error.to_string()))?;
        if filter.admits(resource.head()) {
            resources.push(Arc::new(resource));
        }
    }
    Ok(resources)
}

/// Reads the configuration of this name, as the operator sends it: laid over the defaults, without variables.
pub fn decode_configuration(name: &str, document: &[u8]) -> Result<Configuration, ConfigurationError> {
    let origin = format!("Configuration {name} of the operator");
    match parse(document) {
        Ok(document) => {
            let mut document = respelled(document);
            without_empty_scalars(&mut document);
            of_documents(vec![(origin, document)])
        }
        Err(reason) => Err(ConfigurationError::Received { origin, reason }),
    }
}

/// The keys of a configuration. In JSON their case does not matter; in files, which are YAML, it does.
const KEYS: [&str; 57] = [
    "accessControl",
    "action",
    "allowed",
    "api",
    "apiLogging",
    "appHttpPipeline",
    "appId",
    "component",
    "components",
    "configuration",
    "defaultAccess",
    "defaultAction",
    "denied",
    "deny",
    "enabled",
    "endpointAddress",
    "excludeVerbs",
    "features",
    "handlers",
    "headers",
    "http",
    "httpPipeline",
    "httpVerb",
    "increasedCardinality",
    "isSecure",
    "labels",
    "latencyDistributionBuckets",
    "logging",
    "metric",
    "metrics",
    "name",
    "nameResolution",
    "namespace",
    "obfuscateURLs",
    "omitHealthChecks",
    "operations",
    "otel",
    "pathMatching",
    "policies",
    "protocol",
    "recordErrorCodes",
    "regex",
    "rules",
    "samplingRate",
    "scopes",
    "secrets",
    "spec",
    "stdout",
    "storeName",
    "timeout",
    "tracing",
    "trustDomain",
    "type",
    "value",
    "version",
    "workflow",
    "zipkin",
];

/// The document with its keys as they are looked for. Of a key in two spellings the right one counts. What stands below
/// `configuration` belongs to a resolver; the keys of `regex` are texts that stand in place of others.
fn respelled(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut right = Map::new();
            let mut others = Vec::new();
            for (key, value) in map {
                let known = KEYS.iter().find(|known| known.eq_ignore_ascii_case(&key));
                let value = match known {
                    Some(&"configuration" | &"regex") => value,
                    _ => respelled(value),
                };
                match known {
                    Some(known) if *known != key => others.push((*known, value)),
                    _ => drop(right.insert(key, value)),
                }
            }
            for (key, value) in others {
                right.entry(key).or_insert(value);
            }
            Value::Object(right)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(respelled).collect()),
        scalar => scalar,
    }
}

/// A JSON object. The parser bounds its depth; the length is bounded by who received it.
fn parse(document: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(document).map_err(|error| format!("no JSON: {error}"))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err("the JSON is no object".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HttpEndpoint;

    const FILTER: Filter<'_> = Filter {
        namespace: "here",
        app_id: "me",
    };

    #[test]
    fn what_is_for_others_is_left_out() {
        let documents = [
            r#"{"metadata":{"name":"a","namespace":"here"},"spec":{"baseUrl":"http://a"}}"#,
            r#"{"metadata":{"name":"b","namespace":"there"}}"#,
            r#"{"metadata":{"name":"c"},"scopes":["you"]}"#,
            r#"{"metadata":{"name":"d"},"SPEC":{"BASEURL":"http://d"},"scopes":["me"]}"#,
        ];
        let endpoints: Vec<Arc<HttpEndpoint>> = decode_resources(&documents, FILTER).unwrap();
        let names: Vec<_> = endpoints.iter().map(|one| one.log_name()).collect();
        assert_eq!(names, ["a (http://a)", "d (http://d)"]);
    }

    #[test]
    fn mistakes_tell_where_they_are() {
        let of = |document: &str| {
            let documents = [r#"{"metadata":{"name":"a"}}"#, document];
            decode_resources::<HttpEndpoint>(&documents, FILTER)
                .unwrap_err()
                .to_string()
        };
        for (document, field) in [
            ("{", "no JSON"),
            ("[]", "no object"),
            (r#"{"spec":{"headers":1}}"#, "headers"),
            (r#"{"metadata":{"name":"a/b"}}"#, "invalid name"),
        ] {
            let error = of(document);
            assert!(
                error.starts_with("HTTPEndpoint 2 of the operator: ") && error.contains(field),
                "{error}"
            );
        }
    }

    #[test]
    fn configurations() {
        let text = br#"{"kind":"Configuration","spec":{"nameResolution":{"component":"mdns"},"metric":{"enabled":true},
            "accessControl":{"defaultAction":"deny","policies":[{"appId":"a","operations":null}]},"features":null}}"#;
        let configuration = decode_configuration("c", text).unwrap();
        assert_eq!(configuration.name_resolution.component, "mdns");
        let access = configuration.access_control.unwrap();
        assert_eq!(
            (access.trust_domain.as_str(), access.policies.unwrap().len()),
            ("public", 1)
        );
        for (text, wanted) in [
            (&b"x"[..], "no JSON"),
            (br#"{"spec":{"metric":{"enabled":"maybe"}}}"#, "enabled"),
            (br#"{"spec":{"tracing":5}}"#, "tracing"),
        ] {
            let error = decode_configuration("c", text).unwrap_err().to_string();
            assert!(
                error.contains("Configuration c of the operator") && error.contains(wanted),
                "{error}"
            );
        }
    }

    #[test]
    fn the_case_of_keys_does_not_matter() {
        let text = r#"{"spec":{"tracing":{"samplingRate":"1","stdout":true,"zipkin":{"endpointAddress":"z"},
            "otel":{"protocol":"grpc","isSecure":false,"timeout":"5s","headers":[{"name":"h","value":"v"}]}},"metric":{"enabled":true,"recordErrorCodes":true,
            "http":{"increasedCardinality":true,"pathMatching":["/Name"],"excludeVerbs":true},"workflow":{},
            "latencyDistributionBuckets":[1],"rules":[{"name":"r","labels":[{"name":"l","regex":{"NAME":"Name"}}]}]},
            "metrics":{"enabled":false},
            "httpPipeline":{"handlers":[{"name":"a","type":"b","version":"v1"}]},
            "appHttpPipeline":{"handlers":[{"name":"c"}]},"features":[{"name":"f","enabled":true}],
            "nameResolution":{"component":"mdns","version":"v1","configuration":{"KeyOfTheirs":"x"}},
            "accessControl":{"defaultAction":"deny","trustDomain":"t","policies":[{"appId":"a","namespace":"n",
            "trustDomain":"p","defaultAction":"allow","operations":[{"name":"/o","httpVerb":["GET"],"action":"deny"}]}]},
            "api":{"allowed":[{"name":"i","version":"v1","protocol":"http"}],"denied":[{"name":"j"}]},
            "logging":{"apiLogging":{"enabled":true,"obfuscateURLs":true,"omitHealthChecks":true}},
            "secrets":{"scopes":[{"storeName":"s","defaultAccess":"allow"}]},"components":{"deny":["d"]}}}"#;
        let right = decode_configuration("c", text.as_bytes()).unwrap();
        for respell in [str::to_uppercase as fn(&str) -> String, str::to_lowercase] {
            let mut other = text.to_owned();
            for key in KEYS {
                other = other.replace(&format!("\"{key}\":"), &format!("\"{}\":", respell(key)));
            }
            assert_eq!(
                decode_configuration("c", other.as_bytes()).unwrap(),
                right,
                "{other}"
            );
        }
        assert_eq!(right.name_resolution.configuration["KeyOfTheirs"], "x");
        assert_eq!(right.metric().rules[0].labels[0].regex["NAME"], "Name");
        assert!(KEYS.iter().all(|key| text.contains(&format!("\"{key}\":"))));
        let both = br#"{"spec":{"ACCESSCONTROL":{"defaultAction":"allow"},"accessControl":{"defaultAction":"deny"}}}"#;
        let both = decode_configuration("c", both).unwrap().access_control.unwrap();
        assert_eq!(both.default_action.as_deref(), Some("deny"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in "[\\[\\]{}:,a-c\"0-9 ]{0,40}") {
            let _ = decode_configuration("c", bytes.as_bytes());
            let _ = decode_resources::<HttpEndpoint>(&[bytes], FILTER);
        }
    }
}
