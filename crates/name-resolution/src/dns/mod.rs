//! `dns`: names of any DNS, by addresses (A and AAAA) or by services (SRV, RFC 2782).
//!
//! Dapr has no such resolver. Answers are good for as long as their records say (RFC 1035, section 3.2.1), within bounds;
//! an app is looked up sooner when one of its sidecars cannot be reached. Names are whole: no search list completes them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData};
use invoke_core::balance::{Endpoint, EndpointWatch};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use lifecycle::Tasks;
use serde_json::Value;
use tokio::time::{timeout, timeout_at};

use crate::fields::{FieldError, Fields};
use crate::refresh::{Found, Refreshing};
use crate::registry::InitError;

/// What the log calls this resolver.
const COMPONENT: &str = "nr (dns/v1)";
/// How long one question to a server may take, and how often it is asked.
const QUESTION: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// How long one look-up may take as a whole.
const LOOKUP: Duration = Duration::from_secs(20);
/// For how long answers are good at least and at most.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How many targets of one service are looked up.
const TARGETS: usize = 256;
/// How many of them at once, and for how long all of them.
const AT_ONCE: usize = 16;
const ALL_TARGETS: Duration = Duration::from_secs(15);
/// For how long an answer is good of which targets are missing.
const INCOMPLETE: Duration = Duration::from_secs(5);

/// Asks servers of the DNS.
#[derive(Debug)]
pub(crate) struct Dns {
    name: String,
    kind: Kind,
    resolver: TokioResolver,
    refreshing: Refreshing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Addresses, which all have this port.
    Address(u16),
    Service,
}

/// The settings, checked.
#[derive(Debug, PartialEq, Eq)]
struct DnsSettings {
    name: String,
    kind: Kind,
    /// None for those of the system.
    servers: Vec<SocketAddr>,
}

impl DnsSettings {
    fn of(configuration: &Value) -> Result<Self, FieldError> {
        let fields = Fields::of(configuration)?;
        let name = fields.text("name")?;
        if !name.contains("{appid}") {
            return Err(fields.refused("name", "a name with {appid} in it"));
        }
        if let Err(Unusable) = whole(&filled(&name, "a", "b")) {
            return Err(fields.refused("name", "a name of the DNS with {appid} in it"));
        }
        let port = u16::try_from(fields.natural("port", u16::MAX.into())?).unwrap_or_default();
        let kind = match (fields.text("type")?.to_lowercase().as_str(), port) {
            ("" | "address", 0) => return Err(fields.refused("port", "the internal port of all sidecars")),
            ("" | "address", port) => Kind::Address(port),
            ("srv", 0) => Kind::Service,
            ("srv", _) => return Err(fields.refused("port", "no port, since services have their own,")),
            _ => return Err(fields.refused("type", "address or srv")),
        };
        let servers = fields.texts("servers")?.into_iter().map(|text| {
            let at = text
                .parse()
                .or_else(|_| text.parse::<IpAddr>().map(|address| (address, 53).into()));
            at.map_err(|_| fields.refused("servers", "a list of addresses, each perhaps with a port,"))
        });
        Ok(Self {
            name,
            kind,
            servers: servers.collect::<Result<_, _>>()?,
        })
    }
}

/// What cannot be a name.
#[derive(Debug)]
struct Unusable;

/// The name of an app. What takes the place of a field is not looked at for fields again.
fn filled(name: &str, app_id: &str, namespace: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(name.len()), name);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (value, after) = if let Some(after) = after.strip_prefix("appid}") {
            (app_id, after)
        } else if let Some(after) = after.strip_prefix("namespace}") {
            (namespace, after)
        } else {
            ("{", after)
        };
        text.push_str(value);
        rest = after;
    }
    text + rest
}

/// A name as it is asked for.
fn whole(text: &str) -> Result<Name, Unusable> {
    // What is between the dots are labels, whatever an app is called.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !text.bytes().all(is_plain) {
        return Err(Unusable);
    }
    let mut name = Name::from_ascii(text).map_err(|_| Unusable)?;
    name.set_fqdn(true);
    Ok(name)
}

/// Whether the settings can be read. Whether this host has a DNS is no matter of them.
pub(crate) fn check(configuration: &Value) -> Result<(), InitError> {
    let settings = DnsSettings::of(configuration);
    settings
        .map(drop)
        .map_err(|error| InitError::Init(error.to_string()))
}

impl Dns {
    pub(crate) fn new(configuration: &Value, tasks: &Tasks) -> Result<Self, InitError> {
        let settings = DnsSettings::of(configuration).map_err(|error| InitError::Init(error.to_string()))?;
        let failed =
            |error: NetError| InitError::Init(format!("the DNS of the system cannot be used: {error}"));
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(failed)?
        } else {
            let servers = settings.servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (QUESTION, ATTEMPTS);
        // Whoever asks here wants to know what is new.
        options.cache_size = 0;
        Ok(Self {
            name: settings.name,
            kind: settings.kind,
            resolver: builder.build().map_err(failed)?,
            refreshing: Refreshing::new(COMPONENT, tasks.clone()),
        })
    }
}

impl Resolver for Dns {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let text = filled(&self.name, app.id.as_str(), app.namespace.as_str());
        let asking = Arc::new(Asking {
            name: whole(&text),
            text,
            kind: self.kind,
            resolver: self.resolver.clone(),
        });
        self.refreshing.watch(app, move || {
            let asking = Arc::clone(&asking);
            async move { asking.look_up().await }
        })
    }

    fn unreachable(&self, app: &AppRef, _: &Endpoint) {
        self.refreshing.hurry(app);
    }
}

/// One app, as it is looked up again and again.
struct Asking {
    name: Result<Name, Unusable>,
    text: String,
    kind: Kind,
    resolver: TokioResolver,
}

impl Asking {
    async fn look_up(&self) -> Result<Found, ResolveError> {
        let host = &self.text;
        let failed = |why: &str| {
            ResolveError::new(format!(
                "failed to resolve address for '{host}': lookup {host}: {why}"
            ))
        };
        let Ok(name) = &self.name else {
            return Err(failed("no such host"));
        };
        let asked = async {
            match self.kind {
                Kind::Address(port) => self.addresses(name.clone(), port).await,
                Kind::Service => self.service(name.clone()).await,
            }
        };
        match timeout(LOOKUP, asked).await {
            Ok(Ok((endpoints, _))) if endpoints.is_empty() => Err(failed("no such host")),
            Ok(Ok((endpoints, until))) => Ok(Found {
                endpoints,
                good_for: until
                    .saturating_duration_since(Instant::now())
                    .clamp(SHORTEST, LONGEST),
            }),
            Ok(Err(error)) if error.is_no_records_found() => Err(failed("no such host")),
            Ok(Err(NetError::Timeout)) | Err(_) => Err(failed("i/o timeout")),
            Ok(Err(error)) => Err(failed(&error.to_string())),
        }
    }

    async fn addresses(&self, name: Name, port: u16) -> Result<(Vec<Endpoint>, Instant), NetError> {
        let found = self.resolver.lookup_ip(name).await?;
        let endpoints = found
            .iter()
            .map(|address| Endpoint::new(SocketAddr::new(address, port).to_string()));
        Ok((endpoints.collect(), found.valid_until()))
    }

    async fn target(&self, service: SRV) -> (SRV, Result<LookupIp, NetError>) {
        let found = self.resolver.lookup_ip(service.target.clone()).await;
        (service, found)
    }

    /// The targets that come first; the others are for when those are gone.
    async fn service(&self, name: Name) -> Result<(Vec<Endpoint>, Instant), NetError> {
        let found = self.resolver.srv_lookup(name).await?;
        let mut until = found.valid_until();
        let mut known: HashMap<&Name, Vec<IpAddr>> = HashMap::new();
        for record in found.additionals() {
            match &record.data {
                RData::A(address) => known.entry(&record.name).or_default().push(IpAddr::V4(address.0)),
                RData::AAAA(address) => known.entry(&record.name).or_default().push(IpAddr::V6(address.0)),
                _ => {}
            }
        }
        let mut services: Vec<_> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(service) if service.port > 0 && !service.target.is_root() => Some(service),
                _ => None,
            })
            .collect();
        let first = services.iter().map(|service| service.priority).min();
        services.retain(|service| Some(service.priority) == first);
        let (mut endpoints, mut failure) = (Vec::new(), None);
        let mut add = |service: &SRV, addresses: &mut dyn Iterator<Item = IpAddr>| {
            let weight = NonZeroU32::new(service.weight.into()).unwrap_or(NonZeroU32::MIN);
            let of_target = addresses.map(|address| {
                Endpoint::new(SocketAddr::new(address, service.port).to_string()).with_weight(weight)
            });
            endpoints.extend(of_target);
        };
        let mut unknown = Vec::new();
        for service in services.into_iter().take(TARGETS) {
            match known.get(&service.target) {
                Some(addresses) => add(service, &mut addresses.iter().copied()),
                None => unknown.push(service.clone()),
            }
        }
        let mut look_ups = stream::iter(unknown)
            .map(|service| self.target(service))
            .buffer_unordered(AT_ONCE);
        let deadline = tokio::time::Instant::now() + ALL_TARGETS;
        loop {
            match timeout_at(deadline, look_ups.next()).await {
                Ok(None) => break,
                Ok(Some((service, Ok(found)))) => {
                    until = until.min(found.valid_until());
                    add(&service, &mut found.iter());
                }
                // A target without an address, or one that cannot be looked up, is no reason to do without the others.
                Ok(Some((_, Err(error)))) if error.is_no_records_found() => {}
                Ok(Some((_, Err(error)))) => failure = Some(error),
                Err(_) => {
                    failure = Some(NetError::Timeout);
                    break;
                }
            }
        }
        match failure {
            Some(error) if endpoints.is_empty() => return Err(error),
            // Those that are missing are looked up again soon.
            Some(_) => until = until.min(Instant::now() + INCOMPLETE),
            None => {}
        }
        Ok((endpoints, until))
    }
}

/// A door for the fuzz targets.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(name: &str, app_id: &str, namespace: &str) -> Option<String> {
    let settings = serde_json::json!({"name": name, "port": 1});
    let settings = DnsSettings::of(&settings).ok()?;
    let name = whole(&filled(&settings.name, app_id, namespace)).ok()?;
    Some(name.to_ascii())
}

#[cfg(test)]
mod tests;
