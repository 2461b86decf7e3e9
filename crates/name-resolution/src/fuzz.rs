//! Doors for the fuzz targets: what comes from the network, and settings.

use serde_json::Value;

use crate::{Instance, build};

/// A packet of mDNS: whether it is one.
///
/// # Panics
/// If writing it with and without compression gives two packets that are not the same.
#[cfg(feature = "mdns")]
pub fn packet(bytes: &[u8]) -> bool {
    crate::mdns::fuzz(bytes)
}

/// The address that a format gives for an app.
#[cfg(feature = "nameformat")]
pub async fn name_format(format: &str, app_id: &str) -> Option<String> {
    use invoke_core::AppRef;
    use invoke_core::balance::Resolution;

    let settings = Value::Object(
        [("format".to_owned(), Value::String(format.to_owned()))]
            .into_iter()
            .collect(),
    );
    let instance = Instance {
        app_id: "me".to_owned(),
        address: "127.0.0.1".to_owned(),
        internal_port: 1,
        host_name: "here".to_owned(),
    };
    let built = build("nameformat", "v1", &settings, &instance).await.ok()?;
    let watch = built.resolver.watch(&AppRef::new(app_id, "default"));
    match watch.now() {
        Resolution::Endpoints(endpoints) => endpoints
            .iter()
            .next()
            .map(|endpoint| endpoint.address().to_string()),
        _ => None,
    }
}
