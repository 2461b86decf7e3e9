//! `GetMetadata` and `SetMetadata`.

use api_core::Metadata;
use dapr_proto::runtime::actor_runtime::ActorRuntimeStatus;
use dapr_proto::runtime::{
    ActorRuntime, AppConnectionHealthProperties, AppConnectionProperties, GetMetadataResponse,
    MetadataHttpEndpoint, MetadataResiliency, MetadataWorkflows, RegisteredComponents, SetMetadataRequest,
};
use grpc_wire::GrpcStatus;
use invoke_core::error::code;
use prost::Message as _;

use crate::answer::Message;

/// What the sidecar tells about itself.
pub(crate) fn get(metadata: &Metadata) -> Message {
    let settings = metadata.settings();
    let app = &settings.app;
    let health = app.health.as_ref().map(|health| AppConnectionHealthProperties {
        health_check_path: health.health_check_path.clone(),
        health_probe_interval: health.health_probe_interval.clone(),
        health_probe_timeout: health.health_probe_timeout.clone(),
        health_threshold: int32(health.health_threshold),
    });
    let actor_runtime = if metadata.is_app_ready() {
        ActorRuntime {
            runtime_status: ActorRuntimeStatus::Disabled.into(),
            placement: "placement: disconnected".to_owned(),
            ..ActorRuntime::default()
        }
    } else {
        ActorRuntime::default()
    };
    let components = settings.components.iter().map(|component| RegisteredComponents {
        name: component.name.clone(),
        r#type: component.kind.clone(),
        version: component.version.clone(),
        capabilities: component.capabilities.clone(),
    });
    let endpoints = settings.http_endpoints.iter();
    let resiliencies = settings.resiliencies.iter();
    let response = GetMetadataResponse {
        id: settings.app_id.clone(),
        registered_components: components.collect(),
        extended_metadata: metadata.extended().into_iter().collect(),
        http_endpoints: endpoints
            .map(|name| MetadataHttpEndpoint { name: name.clone() })
            .collect(),
        app_connection_properties: Some(AppConnectionProperties {
            port: int32(app.port),
            protocol: app.protocol.clone(),
            channel_address: app.channel_address.clone(),
            max_concurrency: int32(app.max_concurrency),
            health,
        }),
        runtime_version: settings.version.clone(),
        enabled_features: settings.features.clone(),
        actor_runtime: Some(actor_runtime),
        workflows: Some(MetadataWorkflows::default()),
        resiliencies: resiliencies
            .map(|name| MetadataResiliency { name: name.clone() })
            .collect(),
        ..GetMetadataResponse::default()
    };
    Message::of(&response.encode_to_vec())
}

fn int32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Leaves a value there.
pub(crate) fn set(metadata: &Metadata, request: &[u8]) -> Result<Message, GrpcStatus> {
    let request = SetMetadataRequest::decode(request).map_err(|_| {
        GrpcStatus::new(
            code::INTERNAL,
            "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
        )
    })?;
    metadata
        .set(&request.key, &request.value)
        .map_err(|text| GrpcStatus::new(code::RESOURCE_EXHAUSTED, text))?;
    Ok(Message::of(&[]))
}
