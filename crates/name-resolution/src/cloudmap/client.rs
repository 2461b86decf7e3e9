//! AWS Cloud Map, as the SDK of AWS speaks to it: signatures, where credentials come from, what is tried again.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_config::{AppName, BehaviorVersion};
use aws_sdk_servicediscovery::Client as Sdk;
use aws_sdk_servicediscovery::config::http::HttpRequest;
use aws_sdk_servicediscovery::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_servicediscovery::config::retry::RetryConfig;
use aws_sdk_servicediscovery::config::timeout::TimeoutConfig;
use aws_sdk_servicediscovery::config::{
    Builder, ConfigBag, Credentials, Intercept, Region, RuntimeComponents, SharedHttpClient,
};
use aws_sdk_servicediscovery::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_servicediscovery::types::HealthStatusFilter;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};
use thiserror::Error;

use super::settings::CloudMapSettings;

/// How long a connection may take, one attempt, and all attempts of a question.
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(5);
const QUESTION: Duration = Duration::from_secs(12);
/// How often a question is asked that fails in a way that may pass.
const ATTEMPTS: u32 = 3;
/// How many instances Cloud Map tells of at most.
const INSTANCES: i32 = 1000;
/// How many pages of namespaces are read, of a hundred each.
const PAGES: usize = 50;

/// What Cloud Map says of an instance.
pub(super) type Instance = HashMap<String, String>;

/// A question that was not answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no namespace of this name.
    #[error("namespace not found: {0}")]
    NoNamespace(String),
    /// There is none with this id, or it cannot be asked for.
    #[error("failed to get namespace with ID {id}: {reason}")]
    Id {
        /// The id.
        id: String,
        /// Why not.
        reason: String,
    },
    /// There is one without a name.
    #[error("namespace ID {0} exists but has no name")]
    NoName(String),
    /// Namespaces cannot be listed.
    #[error("failed to list namespaces: {0}")]
    List(String),
    /// Instances cannot be asked for.
    #[error("{0}")]
    Discover(String),
}

/// Asks Cloud Map in one region of one account.
#[derive(Clone, Debug)]
pub(super) struct Client(Sdk);

impl Client {
    /// Finds out which region it is, and where credentials come from: the settings, variables, the files of the SDK, the
    /// services of AWS.
    pub(super) async fn new(settings: &CloudMapSettings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(QUESTION)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Ok(name) = AppName::new("daprd") {
            loader = loader.app_name(name);
        }
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(keys) = &settings.keys {
            let session = keys.session.clone();
            let keys = Credentials::new(&keys.access, &keys.secret, session, None, "configuration");
            loader = loader.credentials_provider(keys);
        }
        let config = Builder::from(&loader.load().await).interceptor(AsGiven);
        Self(Sdk::from_conf(config.build()))
    }

    /// The name of a namespace.
    pub(super) async fn name_of(&self, id: &str) -> Result<String, Failure> {
        let asked = self.0.get_namespace().id(id).send().await;
        let answer = asked.map_err(|error| Failure::Id {
            id: id.to_owned(),
            reason: reason(&error),
        })?;
        let name = answer.namespace().and_then(|namespace| namespace.name());
        let name = name.filter(|name| !name.is_empty());
        name.map(str::to_owned)
            .ok_or_else(|| Failure::NoName(id.to_owned()))
    }

    /// Whether there is a namespace of a name.
    pub(super) async fn has_name(&self, name: &str) -> Result<(), Failure> {
        let mut token = None;
        for _ in 0..PAGES {
            let asked = self.0.list_namespaces().set_next_token(token).send().await;
            let page = asked.map_err(|error| Failure::List(reason(&error)))?;
            if page.namespaces().iter().any(|known| known.name() == Some(name)) {
                return Ok(());
            }
            token = page
                .next_token()
                .map(str::to_owned)
                .filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Err(Failure::NoNamespace(name.to_owned()))
    }

    /// The healthy instances of a service, as far as Cloud Map tells of them.
    pub(super) async fn instances(&self, namespace: &str, service: &str) -> Result<Vec<Instance>, Failure> {
        let question = self
            .0
            .discover_instances()
            .namespace_name(namespace)
            .service_name(service)
            .health_status(HealthStatusFilter::Healthy)
            .max_results(INSTANCES);
        let answer = question.send().await;
        let answer = answer.map_err(|error| Failure::Discover(reason(&error)))?;
        let instances = answer.instances.unwrap_or_default().into_iter();
        Ok(instances.filter_map(|instance| instance.attributes).collect())
    }
}

/// The way to AWS, through a proxy if variables name one.
fn http() -> SharedHttpClient {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).build();
    let builder: ConnectorBuilder<_> = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .proxy_config(ProxyConfig::from_env())
        .connector_settings(settings);
    let connector = SharedHttpConnector::new(builder.build());
    http_client_fn(move |_, _| connector.clone())
}

/// Why a question was not answered: what the service says, or else all that is known.
fn reason<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(service) = error.as_service_error()
        && let Some(code) = service.code()
    {
        return format!("{code}: {}", service.message().unwrap_or("no reason is given"));
    }
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The SDK asks for instances at another host, whose name begins with `data-`. That is the case in AWS; what stands in for
/// AWS, and endpoints of a private network, have the name that the settings say.
#[derive(Debug)]
struct AsGiven;

const ELSEWHERE: &str = "data-";

impl Intercept for AsGiven {
    fn name(&self) -> &'static str {
        "AsGiven"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request: &mut HttpRequest = context.request_mut();
        if let Some(uri) = as_given(request.uri()) {
            request.set_uri(uri)?;
        }
        Ok(())
    }
}

/// The address without what the SDK has put in front of its host, unless the host is one of AWS itself.
fn as_given(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let given = rest.strip_prefix(ELSEWHERE)?;
    (!given.starts_with("servicediscovery")).then(|| format!("{scheme}://{given}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_they_were_given() {
        for (uri, wanted) in [
            ("https://data-servicediscovery.eu-west-1.amazonaws.com/", None),
            ("http://data-127.0.0.1:80/", Some("http://127.0.0.1:80/")),
            ("https://data-vpce-1.example/x", Some("https://vpce-1.example/x")),
            ("https://servicediscovery.eu-west-1.amazonaws.com/", None),
            ("/", None),
        ] {
            assert_eq!(as_given(uri).as_deref(), wanted, "{uri}");
        }
    }
}
