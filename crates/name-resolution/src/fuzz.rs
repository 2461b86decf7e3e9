//! Doors for the fuzz targets: what comes from the network, and settings.

use lifecycle::Tasks;
use serde_json::Value;
use transport::client::Proxies;

use crate::{Instance, Means, build};

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
        http_port: 0,
        app_port: None,
        host_name: "here".to_owned(),
    };
    let means = Means::new(Tasks::new(), Proxies::default(), |_| None);
    let built = build("nameformat", "v1", &settings, &instance, &means)
        .await
        .ok()?;
    let watch = built.resolver.watch(&AppRef::new(app_id, "default"));
    match watch.now() {
        Resolution::Endpoints(endpoints) => endpoints
            .iter()
            .next()
            .map(|endpoint| endpoint.address().to_string()),
        _ => None,
    }
}

/// The addresses in an answer of Consul's agent.
#[cfg(feature = "consul")]
pub fn consul_answer(bytes: &[u8]) -> Vec<String> {
    let found = crate::consul::fuzz::endpoints(bytes).unwrap_or_default();
    found
        .iter()
        .map(|endpoint| endpoint.address().to_string())
        .collect()
}

/// Whether these settings, in JSON, are some of `consul`, `dns`, `sqlite` or `static`.
#[cfg(all(feature = "consul", feature = "dns", feature = "sqlite", feature = "static"))]
pub fn settings(component: &str, text: &[u8]) -> bool {
    let Ok(settings) = serde_json::from_slice(text) else {
        return false;
    };
    match component {
        "consul" => crate::consul::fuzz::are_settings(&settings),
        "dns" => crate::dns::check(&settings).is_ok(),
        "sqlite" => crate::sqlite::SqliteSettings::of(&settings).is_ok(),
        _ => crate::fixed::Fixed::new(&settings).is_ok(),
    }
}

/// The addresses in a list of slices, or in a change, of the API of a cluster.
#[cfg(feature = "kubernetes")]
pub fn pods(bytes: &[u8]) -> Vec<String> {
    let found = crate::kubernetes::fuzz(bytes);
    found
        .iter()
        .map(|endpoint| endpoint.address().to_string())
        .collect()
}

/// The name that is asked for an app, by the name in the settings of `dns`.
#[cfg(feature = "dns")]
pub fn dns_name(name: &str, app_id: &str, namespace: &str) -> Option<String> {
    crate::dns::fuzz(name, app_id, namespace)
}
