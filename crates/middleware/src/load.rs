//! Components: from a type and metadata to something that handles requests.

use std::sync::Arc;

use thiserror::Error;

use crate::handler::Handler;
use crate::properties::Properties;
use crate::web::Web;

/// What a manifest says of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// `spec.type`, like `middleware.http.uppercase`.
    pub kind: String,
    /// `spec.version`; empty for the first.
    pub version: String,
    /// `spec.metadata`.
    pub properties: Properties,
}

/// Why a component cannot be used, in Dapr's words where Dapr has some.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// Nobody knows it.
    #[error("HTTP middleware {kind}/{version} has not been registered")]
    Unknown {
        /// Its type.
        kind: String,
        /// Its version.
        version: String,
    },
    /// Dapr has it, this program does not. Serving without it would let through what it is there to stop.
    #[error(
        "HTTP middleware {kind}/{version} is not part of this build of daprd-rs, and serving without it is not safe: \
         the binary daprd-full has all that there are"
    )]
    Missing {
        /// Its type.
        kind: String,
        /// Its version.
        version: String,
    },
    /// Its metadata is wrong, or somebody whom it needs does not answer.
    #[error("error creating HTTP middleware {kind}/{version}: {cause}")]
    Create {
        /// Its type.
        kind: String,
        /// Its version.
        version: String,
        /// Why.
        cause: String,
    },
}

/// What all types begin with.
const PREFIX: &str = "middleware.http.";

/// What Dapr has, and behind it what it does not have; and whether it is part of this program. What Dapr does not have has a
/// prefix of its own, so that a component that Dapr gets one day means nothing else here.
const KNOWN: [(&str, bool); 15] = [
    ("bearer", cfg!(feature = "bearer")),
    ("oauth2", cfg!(feature = "oauth2")),
    (
        "oauth2clientcredentials",
        cfg!(feature = "oauth2clientcredentials"),
    ),
    ("opa", cfg!(feature = "opa")),
    ("ratelimit", cfg!(feature = "ratelimit")),
    ("routeralias", cfg!(feature = "routeralias")),
    ("routerchecker", cfg!(feature = "routerchecker")),
    ("sentinel", cfg!(feature = "sentinel")),
    ("uppercase", cfg!(feature = "uppercase")),
    ("wasm", cfg!(feature = "wasm")),
    ("rs.bodylimit", cfg!(feature = "bodylimit")),
    ("rs.claims", cfg!(feature = "claims")),
    ("rs.cors", cfg!(feature = "cors")),
    ("rs.headers", cfg!(feature = "headers")),
    ("rs.ipfilter", cfg!(feature = "ipfilter")),
];

impl Spec {
    /// Whether the component can be set up, as far as that is known without asking somebody else.
    ///
    /// # Errors
    /// Those of [`Middleware::load`].
    pub fn check(&self) -> Result<(), LoadError> {
        let properties = &self.properties;
        let checked = match self.known()? {
            #[cfg(feature = "bearer")]
            "bearer" => Some(crate::bearer::check(properties).map_err(|error| error.to_string())),
            #[cfg(feature = "wasm")]
            "wasm" => Some(crate::wasm::check(properties).map_err(|error| error.to_string())),
            known => {
                let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
                silent(known, properties, &web).map(|handler| handler.map(|_| ()))
            }
        };
        self.judged(checked)
    }

    /// Which component it is.
    fn known(&self) -> Result<&'static str, LoadError> {
        let lower = self.kind.to_lowercase();
        let known = lower.strip_prefix(PREFIX);
        let known = known.and_then(|name| {
            KNOWN
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(known, _)| *known)
        });
        let is_first = matches!(self.version.to_lowercase().as_str(), "" | "v0" | "v1");
        known.filter(|_| is_first).ok_or_else(|| LoadError::Unknown {
            kind: self.kind.clone(),
            version: self.version.clone(),
        })
    }

    fn judged<T>(&self, made: Option<Result<T, String>>) -> Result<T, LoadError> {
        let (kind, version) = (self.kind.clone(), self.version.clone());
        match made {
            None => Err(LoadError::Missing { kind, version }),
            Some(Err(cause)) => Err(LoadError::Create { kind, version, cause }),
            Some(Ok(made)) => Ok(made),
        }
    }
}

/// The types of Dapr, and those that only this program has.
pub fn known_types() -> impl Iterator<Item = String> {
    KNOWN.into_iter().map(|(name, _)| format!("{PREFIX}{name}"))
}

/// The types that are part of this program.
pub fn built_types() -> impl Iterator<Item = String> {
    let built = KNOWN.into_iter().filter(|(_, is_built)| *is_built);
    built.map(|(name, _)| format!("{PREFIX}{name}"))
}

/// A component that is set up. Cloning shares it, with what it remembers.
#[derive(Clone, Debug)]
pub struct Middleware {
    spec: Arc<Spec>,
    pub(crate) handler: Arc<Handler>,
}

impl Middleware {
    /// Sets a component up, which may take asking somebody else.
    pub async fn load(spec: Spec, web: &Web) -> Result<Self, LoadError> {
        let handler = handler(spec.known()?, &spec, web).await;
        let handler = spec.judged(handler)?;
        Ok(Self {
            spec: Arc::new(spec),
            handler: Arc::new(handler),
        })
    }

    /// What it was made of. A component of the same is as good as this one, and has forgotten everything.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }
}

/// Makes a component; `None` for one that is not part of this program.
#[allow(clippy::unused_async, reason = "some sets of features have nobody to ask")]
async fn handler(known: &str, spec: &Spec, web: &Web) -> Option<Result<Handler, String>> {
    let properties = &spec.properties;
    match known {
        #[cfg(feature = "bearer")]
        "bearer" => {
            let bearer = crate::bearer::Bearer::new(properties, web).await;
            Some(bearer.map(Handler::Bearer).map_err(|error| error.to_string()))
        }
        #[cfg(feature = "wasm")]
        "wasm" => {
            let wasm = crate::wasm::Wasm::new(spec, web).await;
            Some(wasm.map(Handler::Wasm).map_err(|error| error.to_string()))
        }
        _ => silent(known, properties, web),
    }
}

/// The same of those that ask nobody while they are set up.
fn silent(known: &str, properties: &Properties, web: &Web) -> Option<Result<Handler, String>> {
    #[cfg(not(any(feature = "oauth2", feature = "oauth2clientcredentials")))]
    let _ = web;
    Some(match known {
        #[cfg(feature = "oauth2")]
        "oauth2" => crate::oauth::code::OAuth2::new(properties, web)
            .map(Handler::OAuth2)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "oauth2clientcredentials")]
        "oauth2clientcredentials" => {
            crate::oauth::client_credentials::ClientCredentials::new(properties, web)
                .map(Handler::ClientCredentials)
                .map_err(|error| error.to_string())
        }
        #[cfg(feature = "opa")]
        "opa" => crate::opa::Opa::new(properties)
            .map(|opa| Handler::Opa(Box::new(opa)))
            .map_err(|error| error.to_string()),
        #[cfg(feature = "uppercase")]
        "uppercase" => Ok(Handler::Uppercase(crate::uppercase::Uppercase::new(properties))),
        #[cfg(feature = "ratelimit")]
        "ratelimit" => crate::ratelimit::RateLimit::new(properties)
            .map(Handler::RateLimit)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "routeralias")]
        "routeralias" => crate::routeralias::RouterAlias::new(properties)
            .map(Handler::RouterAlias)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "routerchecker")]
        "routerchecker" => crate::routerchecker::RouterChecker::new(properties)
            .map(Handler::RouterChecker)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "sentinel")]
        "sentinel" => crate::sentinel::Sentinel::new(properties)
            .map(Handler::Sentinel)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "bodylimit")]
        "rs.bodylimit" => crate::body_limit::BodyLimit::new(properties)
            .map(Handler::BodyLimit)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "claims")]
        "rs.claims" => crate::claims::Claims::new(properties)
            .map(Handler::Claims)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "cors")]
        "rs.cors" => crate::cors::Cors::new(properties)
            .map(Handler::Cors)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "headers")]
        "rs.headers" => crate::headers::Headers::new(properties)
            .map(Handler::Headers)
            .map_err(|error| error.to_string()),
        #[cfg(feature = "ipfilter")]
        "rs.ipfilter" => crate::ip_filter::IpFilter::new(properties)
            .map(Handler::IpFilter)
            .map_err(|error| error.to_string()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn load(kind: &str, version: &str) -> Option<String> {
        let spec = Spec {
            name: "a".to_owned(),
            kind: kind.to_owned(),
            version: version.to_owned(),
            properties: Properties::default(),
        };
        let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
        Middleware::load(spec, &web)
            .await
            .err()
            .map(|error| error.to_string())
    }

    #[tokio::test]
    #[cfg(feature = "uppercase")]
    async fn types_and_versions() {
        let unknown = |kind: &str, version: &str| {
            Some(format!(
                "HTTP middleware {kind}/{version} has not been registered"
            ))
        };
        for (kind, version) in [
            ("middleware.http.uppercase", ""),
            ("middleware.http.uppercase", "v0"),
            ("middleware.http.uppercase", "V1"),
            ("middleware.HTTP.UpperCase", "v1"),
        ] {
            assert_eq!(load(kind, version).await, None, "{kind} {version}");
        }
        for (kind, version) in [
            ("middleware.http.uppercase", "v2"),
            ("middleware.http.nothing", "v1"),
            ("middleware.http.", ""),
            ("middleware.grpc.uppercase", "v1"),
            ("middleware.http.uppercase ", "v1"),
        ] {
            assert_eq!(load(kind, version).await, unknown(kind, version));
        }
    }

    #[tokio::test]
    async fn what_is_not_built_in_is_refused_by_name() {
        let built: Vec<String> = built_types().collect();
        for kind in known_types() {
            let said = load(&kind, "v1").await.unwrap_or_default();
            let refusal = format!(
                "HTTP middleware {kind}/v1 is not part of this build of daprd-rs, and serving without it is not safe: \
                 the binary daprd-full has all that there are"
            );
            assert_eq!(said == refusal, !built.contains(&kind), "{said}");
        }
    }
}
