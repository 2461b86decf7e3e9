//! `nameformat`: the address is a text with the app id in it.

use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};

use crate::registry::InitError;
use crate::settings::Settings;

const PLACEHOLDER: &str = "{appid}";
/// Schemes of gRPC's names by which an address is looked up as it is here in any case
/// ([Name resolution](https://github.com/grpc/grpc/blob/master/doc/naming.md)). In Dapr they reach gRPC.
const SCHEMES: [&str; 4] = ["dns:///", "dns:", "passthrough:///", "passthrough:"];

/// Puts app ids into a format.
#[derive(Debug)]
pub(crate) struct NameFormat {
    format: String,
}

impl NameFormat {
    pub(crate) fn new(configuration: &serde_json::Value) -> Result<Self, InitError> {
        let settings = Settings::of(configuration)
            .map_err(|error| InitError::Init(format!("failed to decode metadata: {error}")))?;
        match settings.text(&["format"]) {
            None | Some("") => Err(InitError::Init("format is required in metadata".to_owned())),
            Some(format) if !format.contains(PLACEHOLDER) => Err(InitError::Init(format!(
                "format must contain {PLACEHOLDER} placeholder"
            ))),
            Some(format) => {
                let bare = SCHEMES.iter().find_map(|scheme| format.strip_prefix(scheme));
                Ok(Self {
                    format: bare.unwrap_or(format).to_owned(),
                })
            }
        }
    }
}

impl Resolver for NameFormat {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        if app.id.as_str().is_empty() {
            publisher.fail(ResolveError::new("empty ID not allowed"));
        } else {
            let address = self.format.replace(PLACEHOLDER, app.id.as_str());
            publisher.publish_final([Endpoint::new(address)]);
        }
        watch
    }
}

#[cfg(test)]
mod tests {
    use invoke_core::balance::Resolution;
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes() {
        for (configuration, wanted) in [
            (json!({}), "format is required in metadata"),
            (json!({"format": ""}), "format is required in metadata"),
            (
                json!({"format": "x:1"}),
                "format must contain {appid} placeholder",
            ),
            (
                json!(null),
                "failed to decode metadata: input object cannot be cast to map[string]string: not a map",
            ),
        ] {
            assert_eq!(NameFormat::new(&configuration).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn addresses() {
        let schemes = ["", "dns:///", "dns:", "passthrough:///"];
        for resolver in schemes.map(|scheme| {
            let format = format!("{scheme}{{appid}}.internal:50002");
            NameFormat::new(&json!({ "Format": format })).unwrap()
        }) {
            let watch = resolver.watch(&AppRef::new("a", "ns"));
            match watch.now() {
                Resolution::Endpoints(endpoints) => {
                    let found: Vec<_> = endpoints.iter().map(|endpoint| &**endpoint.address()).collect();
                    assert_eq!(found, ["a.internal:50002"]);
                }
                other => panic!("{other:?}"),
            }
            assert!(watch.is_alive(), "the answer is final");
        }
        let resolver = NameFormat::new(&json!({"format": "{appid}:1"})).unwrap();
        let watch = resolver.watch(&AppRef::new("", "ns"));
        assert!(matches!(watch.now(), Resolution::Failed(_)));
    }
}
