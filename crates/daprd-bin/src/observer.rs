//! The log line of each call of the APIs.

use api_http::{Exchange, Observer};
use resources::ApiLogging;
use telemetry::log::{ApiCall, Log};

/// Logs calls of the API, if that is wanted.
pub struct ApiLog {
    log: Log,
    is_on: bool,
    obfuscates: bool,
    omits_health: bool,
}

impl ApiLog {
    /// `by_flag` is `--enable-api-logging`, if it was given; it decides over the configuration.
    pub fn new(log: Log, by_flag: Option<bool>, settings: &ApiLogging) -> Self {
        Self {
            log,
            is_on: by_flag.or(settings.enabled).unwrap_or(false),
            obfuscates: settings.obfuscate_urls.unwrap_or(false),
            omits_health: settings.omit_health_checks.unwrap_or(false),
        }
    }
}

impl Observer for ApiLog {
    fn wants_requests(&self) -> bool {
        self.is_on
    }

    fn finished(&self, exchange: Exchange) {
        if self.omits_health && matches!(exchange.path.as_str(), "/v1.0/healthz" | "/v1.0/healthz/outbound") {
            return;
        }
        let method = if self.obfuscates {
            obfuscated(&exchange.path)
        } else {
            format!("{} {}", exchange.method, exchange.path)
        };
        self.log.api_call(ApiCall {
            scope: "dapr.runtime.http-info",
            message: "HTTP API Called",
            method: &method,
            code: i64::from(exchange.status.as_u16()),
            duration_ms: exchange.duration.as_millis() as u64,
            size: Some(exchange.size),
            user_agent: exchange.user_agent.as_ref().and_then(|agent| agent.to_str().ok()),
        });
    }

    fn error_code(&self, _: &'static str) {}
}

impl api_grpc::Observer for ApiLog {
    fn wants_calls(&self) -> bool {
        self.is_on
    }

    fn finished(&self, call: api_grpc::Call) {
        self.log.api_call(ApiCall {
            scope: "dapr.runtime.grpc.api-info",
            message: "gRPC API Called",
            method: &call.method,
            code: i64::from(call.code),
            duration_ms: call.duration.as_millis() as u64,
            size: None,
            user_agent: call.user_agent.as_ref().and_then(|agent| agent.to_str().ok()),
        });
    }
}

/// The name of the API in place of the path.
fn obfuscated(path: &str) -> String {
    let name = match path {
        "/v1.0/healthz" => "Healthz",
        "/v1.0/healthz/outbound" => "OutboundHealthz",
        "/v1.0/metadata" => "GetMetadata",
        "/v1.0/shutdown" => "Shutdown",
        path if path.starts_with("/v1.0/metadata/") => "SetMetadata",
        path => {
            let target = path
                .strip_prefix("/v1.0/invoke/")
                .and_then(|rest| rest.split_once("/method"));
            return target.map_or("InvokeService".to_owned(), |(target, _)| {
                format!("InvokeService/{target}")
            });
        }
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_place_of_paths() {
        for (path, wanted) in [
            ("/v1.0/healthz", "Healthz"),
            ("/v1.0/invoke/a/method/secret", "InvokeService/a"),
            ("/v1.0/metadata/k", "SetMetadata"),
            ("/secret", "InvokeService"),
        ] {
            assert_eq!(obfuscated(path), wanted);
        }
    }
}
