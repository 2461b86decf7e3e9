//! The limits that flags set.

use transport::Descriptors;
use transport::server::GrpcServerConfig;

use crate::flags::Options;

/// The longest message of gRPC, in bytes.
pub fn max_message(options: &Options) -> usize {
    let max = options.max_body.and_then(|max| usize::try_from(max).ok());
    max.unwrap_or(usize::MAX)
}

/// The headers of an app's answer may be as long as `--read-buffer-size` says.
pub fn app_header_limit(options: &Options) -> usize {
    options
        .read_buffer
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(10 << 20)
}

/// The limits of both gRPC ports.
pub fn grpc_limits(options: &Options, descriptors: &Descriptors) -> GrpcServerConfig {
    let header_list = options.read_buffer.map_or(u64::from(u32::MAX), |size| size << 10);
    GrpcServerConfig {
        max_header_list: u32::try_from(header_list).unwrap_or(u32::MAX),
        descriptors: descriptors.clone(),
        ..GrpcServerConfig::default()
    }
}
