//! The handler of the public port: health and metadata, for probes and tools, without a token.

use std::sync::Arc;

use api_core::Metadata;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use invoke_core::Body;
use transport::server::{Handler, RequestBody};

use crate::api::{collect, leave, show, unescaped_key};
use crate::errors::{self, ApiError};
use crate::health::Health;
use crate::routes;

/// The values of metadata that anybody may leave on the public port are small.
const MAX_BODY: u64 = 64 * 1024;

/// The public server. Cloning shares it.
#[derive(Clone)]
pub struct PublicApi {
    metadata: Arc<Metadata>,
    health: Health,
}

impl PublicApi {
    /// Puts it together.
    pub fn new(metadata: Arc<Metadata>, health: Health) -> Self {
        Self { metadata, health }
    }

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let path = routes::routing_path(request.uri().path()).into_owned();
        let key = path
            .strip_prefix("/v1.0/metadata/")
            .filter(|key| !key.is_empty() && !key.contains('/'));
        match (request.method().as_str(), path.as_str(), key) {
            ("GET", "/v1.0/healthz", _) => self.health.healthz(self.metadata.app_id(), request.uri().query()),
            ("GET", "/v1.0/healthz/outbound", _) => self.health.outbound(),
            ("GET", "/v1.0/metadata", _) => Ok(show(&self.metadata)),
            ("PUT", _, Some(key)) => {
                let key = unescaped_key(key)?;
                let value = collect(request.into_body(), MAX_BODY).await?;
                leave(&self.metadata, &key, &value)
            }
            (_, "/v1.0/healthz" | "/v1.0/healthz/outbound" | "/v1.0/metadata", _) => Ok(wrong_method("GET")),
            (_, _, Some(_)) => Ok(wrong_method("PUT")),
            _ => Ok(errors::plain(StatusCode::NOT_FOUND, "404 page not found")),
        }
    }
}

fn wrong_method(allowed: &'static str) -> Response<Body> {
    let mut response = errors::empty(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

impl Handler for PublicApi {
    type Body = Body;

    async fn call(&self, request: Request<RequestBody>) -> Response<Body> {
        self.answer(request).await.unwrap_or_else(ApiError::into_response)
    }
}
