//! The wire contract: numbers and names that peers and SDKs depend on.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

/// Message, then its fields as `number name type`, repeated ones with `*`.
const MESSAGES: &[(&str, &str)] = &[
    ("common.v1.HTTPExtension", "1 verb enum, 2 querystring string"),
    (
        "common.v1.InvokeRequest",
        "1 method string, 2 data Any, 3 content_type string, 4 http_extension HTTPExtension",
    ),
    ("common.v1.InvokeResponse", "1 data Any, 2 content_type string"),
    ("common.v1.StreamPayload", "1 data bytes, 2 seq uint64"),
    (
        "internals.v1.Status",
        "1 code int32, 2 message string, 3 details* Any",
    ),
    ("internals.v1.ListStringValue", "1 values* string"),
    ("internals.v1.Actor", "1 actor_type string, 2 actor_id string"),
    (
        "internals.v1.InternalInvokeRequest",
        "1 ver enum, 2 metadata* MetadataEntry, 3 message InvokeRequest, 4 actor Actor",
    ),
    (
        "internals.v1.InternalInvokeResponse",
        "1 status Status, 2 headers* HeadersEntry, 3 trailers* TrailersEntry, 4 message InvokeResponse",
    ),
    (
        "internals.v1.InternalInvokeRequestStream",
        "1 request InternalInvokeRequest, 2 payload StreamPayload",
    ),
    (
        "internals.v1.InternalInvokeResponseStream",
        "1 response InternalInvokeResponse, 2 payload StreamPayload",
    ),
    (
        "runtime.v1.InvokeServiceRequest",
        "1 id string, 3 message InvokeRequest",
    ),
    ("runtime.v1.SetMetadataRequest", "1 key string, 2 value string"),
    (
        "runtime.v1.GetMetadataResponse",
        "1 id string, 2 active_actors_count* ActiveActorsCount, \
         3 registered_components* RegisteredComponents, 4 extended_metadata* ExtendedMetadataEntry, \
         5 subscriptions* PubsubSubscription, 6 http_endpoints* MetadataHTTPEndpoint, \
         7 app_connection_properties AppConnectionProperties, 8 runtime_version string, \
         9 enabled_features* string, 10 actor_runtime ActorRuntime, 11 scheduler MetadataScheduler, \
         12 workflows MetadataWorkflows, 13 mcp_servers* MetadataMCPServer, \
         14 workflow_access_policies* MetadataWorkflowAccessPolicy, 15 resiliencies* MetadataResiliency",
    ),
    (
        "runtime.v1.RegisteredComponents",
        "1 name string, 2 type string, 3 version string, 4 capabilities* string",
    ),
    (
        "runtime.v1.AppConnectionProperties",
        "1 port int32, 2 protocol string, 3 channel_address string, 4 max_concurrency int32, \
         5 health AppConnectionHealthProperties",
    ),
    (
        "runtime.v1.AppConnectionHealthProperties",
        "1 health_check_path string, 2 health_probe_interval string, 3 health_probe_timeout string, \
         4 health_threshold int32",
    ),
    (
        "runtime.v1.ActorRuntime",
        "1 runtime_status enum, 2 active_actors* ActiveActorsCount, 3 host_ready bool, 4 placement string",
    ),
    (
        "sentry.v1.SignCertificateRequest",
        "1 id string, 2 token string, 3 trust_domain string, 4 namespace string, \
         5 certificate_signing_request bytes, 6 token_validator enum, 7 jwt_audiences* string",
    ),
    (
        "sentry.v1.SignCertificateResponse",
        "1 workload_certificate bytes, 2 trust_chain_certificates* bytes, 3 valid_until Timestamp, \
         4 jwt StringValue, 5 per_audience_jwts* PerAudienceJwtsEntry",
    ),
    (
        "operator.v1.GetConfigurationRequest",
        "1 name string, 2 namespace string",
    ),
    ("operator.v1.GetConfigurationResponse", "1 configuration bytes"),
    ("operator.v1.ListResiliencyResponse", "1 resiliencies* bytes"),
    ("operator.v1.ListComponentResponse", "1 components* bytes"),
    ("operator.v1.ListHTTPEndpointsResponse", "1 http_endpoints* bytes"),
    (
        "operator.v1.ComponentUpdateEvent",
        "1 component bytes, 2 type enum",
    ),
    (
        "operator.v1.HTTPEndpointUpdateEvent",
        "1 http_endpoints bytes, 2 type enum",
    ),
    (
        "operator.v1.ConfigurationUpdateEvent",
        "1 configuration bytes, 2 type enum",
    ),
    (
        "operator.v1.ResiliencyUpdateEvent",
        "1 resiliency bytes, 2 type enum",
    ),
];

const METHODS: &[&str] = &[
    "/dapr.proto.internals.v1.ServiceInvocation/CallActor",
    "/dapr.proto.internals.v1.ServiceInvocation/CallActorReminder",
    "/dapr.proto.internals.v1.ServiceInvocation/CallActorStream < stream",
    "/dapr.proto.internals.v1.ServiceInvocation/CallLocal",
    "/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream > stream < stream",
    "/dapr.proto.operator.v1.Operator/ComponentUpdate < stream",
    "/dapr.proto.operator.v1.Operator/ConfigurationUpdate < stream",
    "/dapr.proto.operator.v1.Operator/GetConfiguration",
    "/dapr.proto.operator.v1.Operator/HTTPEndpointUpdate < stream",
    "/dapr.proto.operator.v1.Operator/ListComponents",
    "/dapr.proto.operator.v1.Operator/ListHTTPEndpoints",
    "/dapr.proto.operator.v1.Operator/ListResiliency",
    "/dapr.proto.operator.v1.Operator/ResiliencyUpdate < stream",
    "/dapr.proto.runtime.v1.AppCallback/OnInvoke",
    "/dapr.proto.runtime.v1.AppCallbackHealthCheck/HealthCheck",
    "/dapr.proto.runtime.v1.Dapr/GetMetadata",
    "/dapr.proto.runtime.v1.Dapr/InvokeService",
    "/dapr.proto.runtime.v1.Dapr/SetMetadata",
    "/dapr.proto.runtime.v1.Dapr/Shutdown",
    "/dapr.proto.sentry.v1.CA/SignCertificate",
];

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET).expect("the set was encoded by the build")
}

fn describe(message: &DescriptorProto) -> String {
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_by_key(|field| field.number());
    let described = fields.iter().map(|field| {
        let kind = match field.r#type() {
            Type::Message => field
                .type_name()
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        let many = if field.label() == Label::Repeated { "*" } else { "" };
        format!("{} {}{many} {kind}", field.number(), field.name())
    });
    described.collect::<Vec<_>>().join(", ")
}

#[test]
fn fields() {
    let set = descriptors();
    let known: BTreeMap<String, String> = set
        .file
        .iter()
        .flat_map(|file| {
            file.message_type.iter().map(|message| {
                let package = file.package().trim_start_matches("dapr.proto.");
                (format!("{package}.{}", message.name()), describe(message))
            })
        })
        .collect();
    for (name, wanted) in MESSAGES {
        assert_eq!(known.get(*name).map(String::as_str), Some(*wanted), "{name}");
    }
}

#[test]
fn methods() {
    let mut known = Vec::new();
    for file in descriptors().file {
        for service in &file.service {
            for method in &service.method {
                let mut text = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                if method.client_streaming() {
                    text.push_str(" > stream");
                }
                if method.server_streaming() {
                    text.push_str(" < stream");
                }
                known.push(text);
            }
        }
    }
    known.sort();
    assert_eq!(known, METHODS);
}

#[test]
fn files_are_where_reflection_says() {
    let names: Vec<_> = descriptors()
        .file
        .iter()
        .map(|file| file.name().to_owned())
        .collect();
    for name in [
        "dapr/proto/common/v1/common.proto",
        "dapr/proto/internals/v1/service_invocation.proto",
        "dapr/proto/runtime/v1/dapr.proto",
        "dapr/proto/runtime/v1/appcallback.proto",
        "google/protobuf/any.proto",
    ] {
        assert!(
            names.iter().any(|known| known == name),
            "{name} is missing in {names:?}"
        );
    }
}
