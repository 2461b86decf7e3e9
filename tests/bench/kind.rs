//! What can be measured.

use crate::options::Options;

/// What the command line can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    GrpcProxy,
    GrpcStream,
    InvokeService,
    HttpToGrpc,
    LargeBody,
    IdleConnections,
    Start,
    Crowd,
}

impl Kind {
    /// Every kind, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::Http,
        Self::GrpcProxy,
        Self::GrpcStream,
        Self::InvokeService,
        Self::HttpToGrpc,
        Self::LargeBody,
        Self::IdleConnections,
        Self::Start,
        Self::Crowd,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::GrpcProxy => "grpc-proxy",
            Self::GrpcStream => "grpc-stream",
            Self::InvokeService => "invoke-service",
            Self::HttpToGrpc => "http-to-grpc",
            Self::LargeBody => "large-body",
            Self::IdleConnections => "idle-connections",
            Self::Start => "start",
            Self::Crowd => "crowd",
        }
    }

    /// What is measured for it.
    pub(crate) fn scenes(self) -> &'static [Scene] {
        match self {
            Self::Http => &[Scene::Http],
            Self::GrpcProxy => &[Scene::GrpcProxy],
            Self::GrpcStream => &[Scene::GrpcStream],
            Self::InvokeService => &[Scene::InvokeHttpApp, Scene::InvokeGrpcApp],
            Self::HttpToGrpc => &[Scene::HttpToGrpc],
            Self::LargeBody => &[Scene::LargeBody],
            Self::IdleConnections => &[Scene::IdleConnections],
            Self::Start => &[Scene::Start],
            Self::Crowd => &[Scene::Crowd],
        }
    }
}

/// One thing that is measured of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    Http,
    GrpcProxy,
    GrpcStream,
    InvokeHttpApp,
    InvokeGrpcApp,
    HttpToGrpc,
    LargeBody,
    IdleConnections,
    Start,
    Crowd,
}

/// A protocol, of the app or of the port that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Http,
    Grpc,
}

impl Scene {
    /// Its name in the JSON file and in the picture.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::GrpcProxy => "grpc-proxy",
            Self::GrpcStream => "grpc-stream",
            Self::InvokeHttpApp => "invoke-service-http",
            Self::InvokeGrpcApp => "invoke-service-grpc",
            Self::HttpToGrpc => "http-to-grpc",
            Self::LargeBody => "large-body",
            Self::IdleConnections => "idle-connections",
            Self::Start => "start",
            Self::Crowd => "crowd",
        }
    }

    /// What the load calls.
    pub(crate) fn door(self) -> Speech {
        match self {
            Self::GrpcProxy | Self::GrpcStream | Self::InvokeHttpApp | Self::InvokeGrpcApp => Speech::Grpc,
            _ => Speech::Http,
        }
    }

    /// What the app speaks.
    pub(crate) fn app(self) -> Speech {
        match self {
            Self::GrpcProxy | Self::GrpcStream | Self::InvokeGrpcApp | Self::HttpToGrpc => Speech::Grpc,
            _ => Speech::Http,
        }
    }

    /// Whether only a daprd knows what is asked for.
    pub(crate) fn is_of_dapr(self) -> bool {
        matches!(self, Self::InvokeHttpApp | Self::InvokeGrpcApp | Self::HttpToGrpc)
    }

    /// Whether it says anything without a sidecar.
    pub(crate) fn can_be_direct(self) -> bool {
        !self.is_of_dapr() && !matches!(self, Self::IdleConnections | Self::Start)
    }

    /// The heading of its part of the table.
    pub(crate) fn heading(self, options: &Options) -> String {
        let body = options.body;
        match self {
            Self::Http => format!("http: HTTP call to an HTTP app, {body} bytes there and back"),
            Self::GrpcProxy => format!("grpc-proxy: proxied unary gRPC call, {body} bytes there and back"),
            Self::GrpcStream => {
                format!("grpc-stream: proxied streams; a call is one message of {body} bytes and its echo")
            }
            Self::InvokeHttpApp => {
                format!("invoke-service: InvokeService to an HTTP app, {body} bytes there and back")
            }
            Self::InvokeGrpcApp => {
                format!("invoke-service: InvokeService to a gRPC app, {body} bytes there and back")
            }
            Self::HttpToGrpc => format!("http-to-grpc: HTTP call to a gRPC app, {body} bytes there and back"),
            Self::LargeBody => format!("large-body: one HTTP body of {} MiB", options.large_body),
            Self::IdleConnections => format!(
                "idle-connections: {} HTTP/1 connections that had one call each",
                options.idle
            ),
            Self::Start => "start: from the start of the process until it is healthy".to_owned(),
            Self::Crowd => format!(
                "crowd: {} HTTP calls at once, an app that takes 2 s for each",
                options.concurrent
            ),
        }
    }
}
