//! The log line of each call of the APIs.

use std::time::Instant;

use http::HeaderValue;
use invoke_core::End;
use invoke_core::attempts::Named;
use invoke_core::observe::{Api, Exchange, Gate, Observe, Request, Ticket};
use percent_encoding::percent_decode_str;
use resources::ApiLogging;
use telemetry::log::{ApiCall, Log};
use telemetry::metrics::CallMetrics;
use telemetry::traces::Traces;

use crate::access_log::Accesses;

/// Everybody who sees calls. Another observer joins as a pair.
pub type Observers = ((ApiLog, Option<CallMetrics>), (Option<Traces>, Option<Accesses>));

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

    /// What stands in the log for a request; `None` for one that does not.
    fn http_method(&self, request: Request<'_>) -> Option<String> {
        let path = percent_decode_str(request.path).decode_utf8_lossy();
        if self.omits_health && matches!(&*path, "/v1.0/healthz" | "/v1.0/healthz/outbound") {
            return None;
        }
        Some(if self.obfuscates {
            obfuscated(&path)
        } else {
            format!("{} {path}", request.method)
        })
    }
}

impl Observe for ApiLog {
    type Ticket = Option<ApiTicket>;
    type Meters = ();

    fn meters(&self, _: Named<'_>, _: &str) {}

    fn begin(&self, exchange: Exchange<'_>, _: Option<&()>) -> Option<ApiTicket> {
        let Exchange::Door(request) = exchange else {
            return None;
        };
        if !self.is_on {
            return None;
        }
        let (is_http, method) = match request.api {
            Api::Http => (true, self.http_method(request)?),
            Api::Grpc => (false, request.path.to_owned()),
            Api::Public | Api::Internal => return None,
        };
        Some(ApiTicket {
            log: self.log.clone(),
            begun: Instant::now(),
            is_http,
            method,
            user_agent: request.user_agent.cloned(),
            code: None,
            is_let_in: true,
        })
    }
}

/// A call of an API that is logged when it ends.
pub struct ApiTicket {
    log: Log,
    begun: Instant,
    is_http: bool,
    method: String,
    user_agent: Option<HeaderValue>,
    /// Nothing when the caller went away before there was an answer; that is not logged.
    code: Option<i32>,
    is_let_in: bool,
}

impl Ticket for ApiTicket {
    fn turned_away(&mut self, _: Gate) {
        self.is_let_in = false;
    }

    fn status(&mut self, status: i32) {
        self.code = Some(status);
    }

    fn end(self, _: End<'_>, bytes: u64) {
        let Some(code) = self.code.filter(|_| self.is_let_in) else {
            return;
        };
        let (scope, message) = if self.is_http {
            ("dapr.runtime.http-info", "HTTP API Called")
        } else {
            ("dapr.runtime.grpc.api-info", "gRPC API Called")
        };
        self.log.api_call(ApiCall {
            scope,
            message,
            method: &self.method,
            code: i64::from(code),
            duration_ms: self.begun.elapsed().as_millis() as u64,
            size: self.is_http.then_some(bytes),
            user_agent: self.user_agent.as_ref().and_then(|agent| agent.to_str().ok()),
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
        path if path.starts_with("/v1.0/metadata/") => "PutMetadata",
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
            ("/v1.0/metadata/k", "PutMetadata"),
            ("/secret", "InvokeService"),
        ] {
            assert_eq!(obfuscated(path), wanted);
        }
    }
}
