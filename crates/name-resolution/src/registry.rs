//! Which resolver the configuration names.

use std::net::IpAddr;
use std::sync::Arc;

use invoke_core::Resolver;
use lifecycle::Tasks;
use serde_json::Value;
use thiserror::Error;
use transport::client::Proxies;

/// This sidecar, as resolvers announce it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The app id.
    pub app_id: String,
    /// The advertised host.
    pub address: String,
    /// The internal port.
    pub internal_port: u16,
    /// The port of the HTTP API.
    pub http_port: u16,
    /// The port of the app, if there is an app.
    pub app_port: Option<u16>,
    /// The name of the host.
    pub host_name: String,
}

type Variable = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What resolvers that ask servers need of the process. Cloning shares it.
#[derive(Clone)]
pub struct Means {
    /// Who owns what goes on in the background.
    pub tasks: Tasks,
    /// What stands between this host and the web.
    pub proxies: Proxies,
    variable: Arc<Variable>,
}

impl Means {
    /// `variable` reads the environment.
    pub fn new(
        tasks: Tasks,
        proxies: Proxies,
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            tasks,
            proxies,
            variable: Arc::new(variable),
        }
    }

    /// A variable of the environment that is not empty.
    #[cfg_attr(
        not(any(feature = "consul", feature = "kubernetes")),
        allow(dead_code, reason = "nobody else reads any")
    )]
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    #[cfg(test)]
    pub(crate) fn with_variables(variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::new(Tasks::new(), Proxies::default(), variable)
    }
}

impl std::fmt::Debug for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Means")
    }
}

/// A resolver that could not be made or set up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InitError {
    /// There is no resolver of this name and version.
    #[error("couldn't find name resolver {name}/{version}{hint}")]
    Unknown {
        /// The name.
        name: String,
        /// The version.
        version: String,
        /// What else can be told of it: nothing, or a colon and so on.
        hint: &'static str,
    },
    /// The resolver refused its settings, or could not register this sidecar.
    #[error("{0}")]
    Init(String),
}

impl InitError {
    fn unknown(name: &str, version: &str) -> Self {
        let hint = if cfg!(not(feature = "aws-cloudmap")) && name.eq_ignore_ascii_case("aws.cloudmap") {
            ": it is in builds with the feature aws-cloudmap alone; namespaces of AWS Cloud Map that have DNS are found with \
             the resolver dns"
        } else {
            ""
        };
        Self::Unknown {
            name: name.to_owned(),
            version: version.to_owned(),
            hint,
        }
    }
}

/// A resolver in use.
pub struct Built {
    /// The resolver.
    pub resolver: Arc<dyn Resolver>,
    /// Why this sidecar is not registered yet, which is tried again. Others are found all the same.
    pub complaint: Option<String>,
    registration: Registration,
}

enum Registration {
    None,
    #[cfg(feature = "consul")]
    Consul(crate::consul::Consul),
    #[cfg(feature = "mdns")]
    Mdns(crate::mdns::MdnsResolver),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Sqlite),
}

impl Built {
    fn unregistered(resolver: impl Resolver) -> Self {
        Self::registered(resolver, Registration::None)
    }

    fn registered(resolver: impl Resolver, registration: Registration) -> Self {
        Self {
            resolver: Arc::new(resolver),
            complaint: None,
            registration,
        }
    }

    /// Makes room for `next`, by which this sidecar is registered already: the registration is withdrawn, unless it is in
    /// the place that `next` has written to. Resolving goes on.
    pub async fn yield_to(&self, next: &Self) {
        if self.place().is_some() && self.place() == next.place() {
            self.leave().await;
        } else {
            self.close().await;
        }
    }

    /// Keeps the registration up no longer, and does not withdraw it.
    pub async fn leave(&self) {
        match &self.registration {
            Registration::None => {}
            #[cfg(feature = "consul")]
            Registration::Consul(resolver) => resolver.leave(),
            // Its task has nothing that somebody else could go on with.
            #[cfg(feature = "mdns")]
            Registration::Mdns(resolver) => resolver.close().await,
            #[cfg(feature = "sqlite")]
            Registration::Sqlite(resolver) => resolver.leave().await,
        }
    }

    /// Where this sidecar is registered, if another one might write there.
    fn place(&self) -> Option<&str> {
        match &self.registration {
            #[cfg(feature = "consul")]
            Registration::Consul(resolver) => resolver.place(),
            #[cfg(feature = "sqlite")]
            Registration::Sqlite(resolver) => Some(resolver.place()),
            _ => None,
        }
    }

    /// Withdraws the registration of this sidecar, so that nobody calls it any more. Resolving goes on.
    pub async fn close(&self) {
        match &self.registration {
            Registration::None => {}
            #[cfg(feature = "consul")]
            Registration::Consul(resolver) => resolver.close().await,
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
    #[cfg(feature = "aws-cloudmap")]
    "aws.cloudmap",
    #[cfg(feature = "consul")]
    "consul",
    #[cfg(feature = "consul")]
    "hashicorp.consul",
    #[cfg(feature = "dns")]
    "dns",
    #[cfg(feature = "kubernetes")]
    "kubernetes",
    #[cfg(feature = "mdns")]
    "mdns",
    #[cfg(feature = "nameformat")]
    "nameformat",
    #[cfg(feature = "sqlite")]
    "sqlite",
    #[cfg(feature = "static")]
    "static",
];

/// The name of a resolver of this program, in lower case.
fn known(component: &str, version: &str) -> Result<String, InitError> {
    let lower = component.to_lowercase();
    if matches!(version.to_lowercase().as_str(), "" | "v0" | "v1") && RESOLVERS.contains(&lower.as_str()) {
        return Ok(lower);
    }
    Err(InitError::unknown(component, version))
}

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
    let lower = known(component, version)?;
    // The environment is that of another process.
    let means = Means::new(Tasks::new(), Proxies::default(), |_| None);
    match lower.as_str() {
        #[cfg(feature = "sqlite")]
        "sqlite" => crate::sqlite::SqliteSettings::of(configuration)
            .map(|_| ())
            .map_err(InitError::Init),
        #[cfg(feature = "kubernetes")]
        "kubernetes" => crate::kubernetes::check(configuration),
        #[cfg(feature = "consul")]
        "consul" | "hashicorp.consul" => crate::consul::check(configuration, &with_literal(instance), &means),
        #[cfg(feature = "dns")]
        "dns" => crate::dns::check(configuration),
        #[cfg(feature = "aws-cloudmap")]
        "aws.cloudmap" => crate::cloudmap::check(configuration),
        #[cfg(feature = "static")]
        "static" => crate::fixed::Fixed::new(configuration).map(|_| ()),
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
    means: &Means,
) -> Result<Built, InitError> {
    match known(component, version)?.as_str() {
        #[cfg(feature = "mdns")]
        "mdns" => {
            let resolver = crate::mdns::MdnsResolver::start(&with_literal(instance))?;
            Ok(Built::registered(resolver.clone(), Registration::Mdns(resolver)))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let resolver = crate::sqlite::Sqlite::start(configuration, instance).await?;
            Ok(Built::registered(
                resolver.clone(),
                Registration::Sqlite(resolver),
            ))
        }
        #[cfg(feature = "consul")]
        "consul" | "hashicorp.consul" => {
            let instance = with_literal(instance);
            let (resolver, complaint) = crate::consul::Consul::start(configuration, &instance, means).await?;
            Ok(Built {
                complaint,
                ..Built::registered(resolver.clone(), Registration::Consul(resolver))
            })
        }
        #[cfg(feature = "kubernetes")]
        "kubernetes" => {
            let resolver = crate::kubernetes::Kubernetes::new(configuration, instance, means)?;
            Ok(Built::unregistered(resolver))
        }
        #[cfg(feature = "dns")]
        "dns" => {
            let resolver = crate::dns::Dns::new(configuration, &means.tasks)?;
            Ok(Built::unregistered(resolver))
        }
        #[cfg(feature = "aws-cloudmap")]
        "aws.cloudmap" => {
            let (resolver, complaint) = crate::cloudmap::CloudMap::start(configuration, means).await?;
            Ok(Built {
                complaint,
                ..Built::unregistered(resolver)
            })
        }
        #[cfg(feature = "static")]
        "static" => Ok(Built::unregistered(crate::fixed::Fixed::new(configuration)?)),
        #[cfg(feature = "nameformat")]
        "nameformat" => Ok(Built::unregistered(crate::nameformat::NameFormat::new(
            configuration,
        )?)),
        _ => Err(InitError::unknown(component, version)),
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

fn with_literal(instance: &Instance) -> Instance {
    Instance {
        address: literal(&instance.address),
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
            http_port: 2,
            app_port: None,
            host_name: "h".into(),
        };
        let means = Means::with_variables(|_| None);
        for (name, version) in [("nope", "v1"), ("nameformat", "v2")] {
            let error = build(name, version, &Value::Null, &instance, &means)
                .await
                .unwrap_err();
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
