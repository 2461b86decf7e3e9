//! The configuration of the proxies that read one.

use std::path::Path;

use serde_json::{Value, json};

use crate::certificates::{BOTH, KEY, LEAF, ROOT};
use crate::hop::Plan;
use crate::kind::Speech;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

/// nginx, with a folder for what it writes.
pub(crate) fn nginx(plan: &Plan<'_>, port: u16, folder: &Path) -> String {
    let (next, folder) = (plan.next, folder.display());
    let (listen, pass) = match plan.speech {
        Speech::Http => (
            "",
            "proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_request_buffering off; proxy_max_temp_file_size 0;",
        ),
        Speech::Grpc => (" http2", "grpc_pass grpc://next;"),
    };
    format!(
        "daemon off;\nworker_processes auto;\npid {folder}/pid;\nerror_log stderr error;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log off;\nclient_max_body_size 0;\nclient_body_temp_path {folder}/body;\n\
         proxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
         keepalive_requests 1000000000;\nkeepalive_timeout 600s;\nhttp2_max_concurrent_streams 4096;\n\
         upstream next {{ server 127.0.0.1:{next}; keepalive 1024; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port}{listen} backlog=4096;\nlocation / {{ {pass} }} }}\n\
         }}\n"
    )
}

/// `HAProxy` with one frontend and one backend. It changes protocols as our sidecars do: HTTP/1 outside and HTTP/2
/// between the hops, and for gRPC HTTP/2 all the way.
pub(crate) fn haproxy(plan: &Plan<'_>, port: u16) -> String {
    let is_grpc = plan.speech == Speech::Grpc;
    let (outside, between) = (if is_grpc { " proto h2" } else { "" }, " proto h2");
    let (accepts, sends) = if plan.is_last {
        (between, outside)
    } else {
        (outside, between)
    };
    let tls = |folder: &Path| {
        let file = |name: &str| folder.join(name).display().to_string();
        format!(
            " ssl crt {} ca-file {} verify required alpn h2 ssl-min-ver TLSv1.3",
            file(BOTH),
            file(ROOT)
        )
    };
    let (mut accepts, mut sends) = (accepts.to_owned(), sends.to_owned());
    match plan.certificates.map(tls) {
        Some(tls) if plan.is_last => accepts.push_str(&tls),
        Some(tls) => sends.push_str(&tls),
        None => {}
    }
    let next = plan.next;
    format!(
        "global\n\
         nbthread 2\nmaxconn 8192\n\
         tune.h2.max-concurrent-streams 4096\ntune.h2.initial-window-size 1048576\n\
         defaults\n\
         mode http\nhttp-reuse always\nbacklog 4096\n\
         timeout connect 10s\ntimeout client 600s\ntimeout server 600s\n\
         frontend in\n\
         bind 127.0.0.1:{port}{accepts}\ndefault_backend next\n\
         backend next\n\
         server next 127.0.0.1:{next}{sends}\n"
    )
}

/// Envoy with one listener and one cluster, in JSON.
pub(crate) fn envoy(plan: &Plan<'_>, port: u16) -> String {
    json!({"static_resources": {"listeners": [listener(plan, port)], "clusters": [cluster(plan)]}})
        .to_string()
}

fn listener(plan: &Plan<'_>, port: u16) -> Value {
    let is_h2 = plan.speech == Speech::Grpc || plan.is_last;
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": format!("{EXTENSIONS}.filters.http.router.v3.Router")},
    });
    let manager = json!({
        "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "codec_type": if is_h2 { "HTTP2" } else { "HTTP1" },
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}],
        }]},
        "http_filters": [router],
    });
    let mut chain = json!({"filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    }]});
    if let (true, Some(folder)) = (plan.is_last, plan.certificates) {
        chain["transport_socket"] = tls("DownstreamTlsContext", folder);
        chain["transport_socket"]["typed_config"]["require_client_certificate"] = true.into();
    }
    json!({"address": address(port), "filter_chains": [chain]})
}

fn cluster(plan: &Plan<'_>) -> Value {
    let is_h2 = plan.speech == Speech::Grpc || !plan.is_last;
    let version = if is_h2 {
        "http2_protocol_options"
    } else {
        "http_protocol_options"
    };
    let mut cluster = json!({
        "name": "next",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [{
            "max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192,
        }]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {version: {}},
            },
        },
        "load_assignment": {"cluster_name": "next", "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": address(plan.next)}}],
        }]},
    });
    if let (false, Some(folder)) = (plan.is_last, plan.certificates) {
        cluster["transport_socket"] = tls("UpstreamTlsContext", folder);
    }
    cluster
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// TLS 1.3 alone, as all others speak; each side proves that it is of the same authority.
fn tls(context: &str, folder: &Path) -> Value {
    let file = |name: &str| json!({"filename": folder.join(name)});
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": format!("{EXTENSIONS}.transport_sockets.tls.v3.{context}"),
            "common_tls_context": {
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": ["h2"],
                "tls_certificates": [{"certificate_chain": file(LEAF), "private_key": file(KEY)}],
                "validation_context": {"trusted_ca": file(ROOT)},
            },
        },
    })
}
