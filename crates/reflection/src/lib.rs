//! gRPC server reflection, as both gRPC servers of a sidecar offer it.
//!
//! Tools like grpcurl ask a server which services it has, and SDKs look for a method before they call it.
//! [`Reflection`] answers them from the descriptors of `dapr-proto`, in the versions `v1` and `v1alpha` of the
//! protocol ("GRPC Server Reflection Protocol" of the gRPC documentation). A server says which of the services it
//! has. It asks [`Reflection::serves`] about each path, and passes on requests for reflection.
//!
//! The protocol itself is `tonic-reflection`'s. Services of apps are not described here: they are proxied, and so
//! is a question about them that names an app.

use std::convert::Infallible;
use std::fmt;

use dapr_proto::FILE_DESCRIPTOR_SET;
use http::{Request, Response};
use invoke_core::Body;
use tonic_reflection::server::{Builder, Error};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use transport::server::RequestBody;

const V1: &str = "/grpc.reflection.v1.ServerReflection/";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";

type Service = BoxCloneSyncService<Request<RequestBody>, Response<Body>, Infallible>;

/// Tells which services a server has. Cloning shares the descriptors.
#[derive(Clone)]
pub struct Reflection {
    v1: Service,
    v1_alpha: Service,
}

impl fmt::Debug for Reflection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reflection").finish_non_exhaustive()
    }
}

impl Reflection {
    /// A server that has `services`, given by their full names. Their messages are described by the descriptors
    /// of `dapr-proto`; an error means that those are broken.
    pub fn new(services: &[&str]) -> Result<Self, Error> {
        let builder = || {
            let described = Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
                .with_service_name(name_of(V1))
                .with_service_name(name_of(V1_ALPHA));
            services.iter().fold(described, |described, service| {
                described.with_service_name(*service)
            })
        };
        let v1 = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(Body::stream))
            .service(builder().build_v1()?);
        let v1_alpha = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(Body::stream))
            .service(builder().build_v1alpha()?);
        Ok(Self {
            v1: BoxCloneSyncService::new(v1),
            v1_alpha: BoxCloneSyncService::new(v1_alpha),
        })
    }

    /// Whether a path is one of the methods of reflection.
    pub fn serves(path: &str) -> bool {
        path.starts_with(V1) || path.starts_with(V1_ALPHA)
    }

    /// Answers a request whose path [`Self::serves`].
    pub async fn call(&self, request: Request<RequestBody>) -> Response<Body> {
        let service = if request.uri().path().starts_with(V1) {
            &self.v1
        } else {
            &self.v1_alpha
        };
        match service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The full name of the service in a path.
fn name_of(path: &str) -> &str {
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use prost::Message;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    use super::*;

    /// The answer, or the code of the status.
    async fn ask(path: &str, question: MessageRequest) -> Result<MessageResponse, String> {
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let question = question.encode_to_vec();
        let mut message = vec![0];
        message.extend((question.len() as u32).to_be_bytes());
        message.extend(question);
        let request = Request::post(format!("{path}ServerReflectionInfo"))
            .header("content-type", "application/grpc")
            .body(RequestBody::Kept(Full::new(Bytes::from(message))))
            .unwrap();
        assert!(Reflection::serves(request.uri().path()));
        let reflection = Reflection::new(&["dapr.proto.runtime.v1.Dapr"]).unwrap();
        let answer = reflection.call(request).await;
        let answer = answer.into_body().collect().await.unwrap();
        let status = answer.trailers().unwrap()["grpc-status"]
            .to_str()
            .unwrap()
            .to_owned();
        let Some(message) = answer.to_bytes().get(5..).map(Bytes::copy_from_slice) else {
            return Err(status);
        };
        // Both versions of the protocol have the same messages.
        Ok(ServerReflectionResponse::decode(message)
            .unwrap()
            .message_response
            .unwrap())
    }

    #[tokio::test]
    async fn services_are_listed() {
        for path in [V1, V1_ALPHA] {
            let answer = ask(path, MessageRequest::ListServices(String::new())).await;
            let Ok(MessageResponse::ListServicesResponse(list)) = answer else {
                panic!("{answer:?}")
            };
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            assert_eq!(
                names,
                ["dapr.proto.runtime.v1.Dapr", name_of(V1), name_of(V1_ALPHA)]
            );
        }
    }

    #[tokio::test]
    async fn a_method_is_found_in_its_file() {
        let symbol = "dapr.proto.runtime.v1.Dapr.InvokeService".to_owned();
        let answer = ask(V1_ALPHA, MessageRequest::FileContainingSymbol(symbol)).await;
        assert!(
            matches!(answer, Ok(MessageResponse::FileDescriptorResponse(_))),
            "{answer:?}"
        );
        let nothing = MessageRequest::FileContainingSymbol("nobody.has.This".to_owned());
        assert_eq!(ask(V1, nothing).await, Err("5".to_owned()));
    }
}
