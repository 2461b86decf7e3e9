//! Where resources come from.

use resources::{Component, Filter, HttpEndpoint, load_resources};

use super::components::ComponentsError;
use super::{Fatal, SCOPE};
use crate::flags::{Flags, Settings};

/// Where a sidecar has its resources from. What watches them later begins here, too.
#[derive(Debug)]
pub(super) enum Source {
    /// Folders of manifests.
    Folders(Vec<String>),
}

impl Source {
    pub(super) fn of(flags: &Flags) -> Self {
        let mut folders = flags.list("resources-path");
        if folders.is_empty() && flags.is_given("components-path") {
            folders.push(flags.text("components-path").to_owned());
        }
        Self::Folders(folders)
    }

    /// Components for this sidecar.
    pub(super) fn components(&self, settings: &Settings) -> Result<Vec<Component>, Fatal> {
        let Self::Folders(folders) = self;
        let namespace = namespace();
        let loaded = load_resources(folders, filter(settings, &namespace)).map_err(ComponentsError::Load)?;
        tell(&loaded.warnings);
        Ok(loaded.resources)
    }

    /// HTTP endpoints for this sidecar. When they cannot be had, there are none.
    pub(super) fn http_endpoints(&self, settings: &Settings) -> Vec<HttpEndpoint> {
        tracing::info!(target: SCOPE, "Loading endpoints…");
        let Self::Folders(folders) = self;
        let namespace = namespace();
        match load_resources(folders, filter(settings, &namespace)) {
            Ok(loaded) => {
                tell(&loaded.warnings);
                loaded.resources
            }
            Err(error) => {
                tracing::warn!(target: SCOPE, "failed to load HTTP endpoints: {error}");
                Vec::new()
            }
        }
    }
}

/// Without a namespace, resources of every namespace are for this sidecar.
fn namespace() -> String {
    std::env::var("NAMESPACE").unwrap_or_default()
}

fn filter<'a>(settings: &'a Settings, namespace: &'a str) -> Filter<'a> {
    Filter {
        namespace,
        app_id: &settings.app_id,
    }
}

fn tell(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
}
