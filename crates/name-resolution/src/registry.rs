//! Which resolver the configuration names.

use std::net::IpAddr;
use std::sync::Arc;

use invoke_core::Resolver;
use serde_json::Value;
use thiserror::Error;

/// This sidecar, as resolvers announce it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The app id.
    pub app_id: String,
    /// The advertised host.
    pub address: String,
    /// The internal port.
    pub internal_port: u16,
    /// The name of the host.
    pub host_name: String,
}

/// A resolver that could not be made or set up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InitError {
    /// There is no resolver of this name and version.
    #[error("couldn't find name resolver {name}/{version}")]
    Unknown {
        /// The name.
        name: String,
        /// The version.
        version: String,
    },
    /// The resolver refused its settings, or could not register this sidecar.
    #[error("{0}")]
    Init(String),
}

/// A resolver in use.
pub struct Built {
    /// The resolver.
    pub resolver: Arc<dyn Resolver>,
    registration: Registration,
}

enum Registration {
    None,
    #[cfg(feature = "mdns")]
    Mdns(crate::mdns::MdnsResolver),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Sqlite),
}

impl Built {
    /// Withdraws the registration of this sidecar, so that nobody calls it any more. Resolving goes on.
    pub async fn close(&self) {
        match &self.registration {
            Registration::None => {}
            #[cfg(feature = "mdns")]
            Registration::Mdns(resolver) => resolver.close().await,
            #[cfg(feature = "sqlite")]
            Registration::Sqlite(resolver) => resolver.close().await,
        }
    }
}

impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Built")
    }
}

/// The resolvers of this program.
pub const RESOLVERS: &[&str] = &[
    #[cfg(feature = "kubernetes")]
    "kubernetes",
    #[cfg(feature = "mdns")]
    "mdns",
    #[cfg(feature = "nameformat")]
    "nameformat",
    #[cfg(feature = "sqlite")]
    "sqlite",
];

/// Whether [`build`] would get as far as asking somebody else: the resolver is there, and its settings can be read.
///
/// # Errors
/// Those of [`build`].
pub fn check(
    component: &str,
    version: &str,
    configuration: &Value,
    instance: &Instance,
) -> Result<(), InitError> {
    let unknown = || InitError::Unknown {
        name: component.to_owned(),
        version: version.to_owned(),
    };
    let lower = component.to_lowercase();
    if !matches!(version.to_lowercase().as_str(), "" | "v0" | "v1") || !RESOLVERS.contains(&lower.as_str()) {
        return Err(unknown());
    }
    match lower.as_str() {
        #[cfg(feature = "sqlite")]
        "sqlite" => crate::sqlite::SqliteSettings::of(configuration)
            .map(|_| ())
            .map_err(InitError::Init),
        #[cfg(feature = "kubernetes")]
        "kubernetes" => crate::kubernetes::Kubernetes::new(configuration, instance).map(|_| ()),
        #[cfg(feature = "nameformat")]
        "nameformat" => crate::nameformat::NameFormat::new(configuration).map(|_| ()),
        _ => Ok(()),
    }
}

/// Makes the resolver `component`/`version` and registers this sidecar with it.
pub async fn build(
    component: &str,
    version: &str,
    configuration: &Value,
    instance: &Instance,
) -> Result<Built, InitError> {
    let unknown = || InitError::Unknown {
        name: component.to_owned(),
        version: version.to_owned(),
    };
    if !matches!(version.to_lowercase().as_str(), "" | "v0" | "v1") {
        return Err(unknown());
    }
    match component.to_lowercase().as_str() {
        #[cfg(feature = "mdns")]
        "mdns" => {
            let address = literal(&instance.address);
            let resolver = crate::mdns::MdnsResolver::start(&instance_with(instance, address))?;
            Ok(Built {
                resolver: Arc::new(resolver.clone()),
                registration: Registration::Mdns(resolver),
            })
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let resolver = crate::sqlite::Sqlite::start(configuration, instance).await?;
            Ok(Built {
                resolver: Arc::new(resolver.clone()),
                registration: Registration::Sqlite(resolver),
            })
        }
        #[cfg(feature = "kubernetes")]
        "kubernetes" => {
            let resolver = Arc::new(crate::kubernetes::Kubernetes::new(configuration, instance)?);
            Ok(Built {
                resolver,
                registration: Registration::None,
            })
        }
        #[cfg(feature = "nameformat")]
        "nameformat" => {
            let resolver = Arc::new(crate::nameformat::NameFormat::new(configuration)?);
            Ok(Built {
                resolver,
                registration: Registration::None,
            })
        }
        _ => Err(unknown()),
    }
}

/// The listen addresses that stand for the loopback interface, as an address that can be announced.
fn literal(address: &str) -> String {
    match address {
        "localhost" => "127.0.0.1".to_owned(),
        bracketed => {
            let bare = bracketed
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .unwrap_or(bracketed);
            if bare.parse::<IpAddr>().is_ok() {
                bare.to_owned()
            } else {
                address.to_owned()
            }
        }
    }
}

fn instance_with(instance: &Instance, address: String) -> Instance {
    Instance {
        address,
        ..instance.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unknown_resolvers() {
        let instance = Instance {
            app_id: "a".into(),
            address: "127.0.0.1".into(),
            internal_port: 1,
            host_name: "h".into(),
        };
        for (name, version) in [("nope", "v1"), ("nameformat", "v2")] {
            let error = build(name, version, &Value::Null, &instance).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("couldn't find name resolver {name}/{version}")
            );
            assert_eq!(check(name, version, &Value::Null, &instance), Err(error));
        }
    }

    #[test]
    fn loopback_listen_addresses_are_announced_as_addresses() {
        for (address, wanted) in [
            ("localhost", "127.0.0.1"),
            ("[::1]", "::1"),
            ("10.0.0.1", "10.0.0.1"),
            ("host", "host"),
        ] {
            assert_eq!(literal(address), wanted);
        }
    }
}
