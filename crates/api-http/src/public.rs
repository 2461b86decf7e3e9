//! The handler of the public port: health and metadata, for probes and tools, without a token.

use std::sync::Arc;

use api_core::{ApiLists, Metadata};
use http::{Request, Response};
use invoke_core::observe::{self, OpenExchange};
use invoke_core::{Body, Observe};
use transport::server::{Handler, RequestBody};

use crate::access::Access;
use crate::api::{collect, door, set_metadata, show, unescaped_key};
use crate::errors::{self, ApiError};
use crate::health::Health;
use crate::routes;

/// The values of metadata that anybody may set on the public port are small.
const MAX_BODY: u64 = 64 * 1024;

/// The public server. Cloning shares it.
pub struct PublicApi<O> {
    observer: Arc<O>,
    metadata: Arc<Metadata>,
    health: Health,
    has_metadata: bool,
    sets_metadata: bool,
}

impl<O> Clone for PublicApi<O> {
    fn clone(&self) -> Self {
        Self {
            observer: Arc::clone(&self.observer),
            metadata: Arc::clone(&self.metadata),
            health: self.health.clone(),
            ..*self
        }
    }
}

impl<O: Observe> PublicApi<O> {
    /// Puts it together. `apis` says whether there is metadata; health there always is.
    pub fn new(observer: Arc<O>, metadata: Arc<Metadata>, health: Health, apis: &ApiLists) -> Self {
        let access = Access::new(apis);
        Self {
            observer,
            metadata,
            health,
            has_metadata: access.metadata,
            sets_metadata: access.set_metadata,
        }
    }

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let path = routes::routing_path(request.uri().path()).into_owned();
        let key = routes::metadata_key(&path).filter(|_| self.sets_metadata);
        // No token is asked for here: kubelets, which probe this port, have none.
        match (request.method().as_str(), path.as_str(), key) {
            ("GET", "/v1.0/healthz", _) => self.health.healthz(self.metadata.app_id(), request.uri().query()),
            ("GET", "/v1.0/healthz/outbound", _) => self.health.outbound(),
            ("GET", "/v1.0/metadata", _) if self.has_metadata => Ok(show(&self.metadata)),
            ("PUT", _, Some(key)) => {
                let key = unescaped_key(key)?;
                let value = collect(request.into_body(), MAX_BODY).await?;
                set_metadata(&self.metadata, &key, &value)
            }
            (_, "/v1.0/healthz" | "/v1.0/healthz/outbound", _) => Ok(errors::wrong_method(&["GET"])),
            (_, "/v1.0/metadata", _) if self.has_metadata => Ok(errors::wrong_method(&["GET"])),
            (_, _, Some(_)) => Ok(errors::wrong_method(&["PUT"])),
            _ => Ok(errors::not_found()),
        }
    }
}

impl<O: Observe> Handler for PublicApi<O> {
    type Body = Body;

    async fn call(&self, request: Request<RequestBody>) -> Response<Body> {
        let door = door(observe::Api::Public, &request);
        let mut open = OpenExchange::new(self.observer.begin(door, None));
        let response = self.answer(request).await.unwrap_or_else(|error| {
            self.observer.error_code(error.code);
            error.into_response()
        });
        open.status(i32::from(response.status().as_u16()));
        response.map(|body| open.follow(body))
    }
}
