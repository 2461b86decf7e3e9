//! `nameformat`: the address is a text with the app id in it.

use std::sync::Arc;

use invoke_core::balance::{Endpoint, EndpointWatch, Resolution};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use tokio::sync::watch;

use crate::registry::InitError;
use crate::settings::Settings;

const PLACEHOLDER: &str = "{appid}";

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
            Some(format) => Ok(Self {
                format: format.to_owned(),
            }),
        }
    }
}

impl Resolver for NameFormat {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let resolution = if app.id.as_str().is_empty() {
            Resolution::Failed(ResolveError::new("empty ID not allowed"))
        } else {
            let address = self.format.replace(PLACEHOLDER, app.id.as_str());
            Resolution::Endpoints(Arc::new([Endpoint::new(address)]))
        };
        let (sender, receiver) = watch::channel(resolution);
        // The answer never changes: the channel stays open as long as somebody looks at it.
        tokio::spawn(async move { sender.closed().await });
        receiver
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn addresses() {
        let resolver = NameFormat::new(&json!({"Format": "{appid}.internal:50002"})).unwrap();
        let watch = resolver.watch(&AppRef::new("a", "ns"));
        match &*watch.borrow() {
            Resolution::Endpoints(endpoints) => assert_eq!(&**endpoints[0].address(), "a.internal:50002"),
            other => panic!("{other:?}"),
        }
        assert!(watch.has_changed().is_ok());
        let watch = resolver.watch(&AppRef::new("", "ns"));
        assert!(matches!(&*watch.borrow(), Resolution::Failed(_)));
    }
}
