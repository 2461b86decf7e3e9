//! internal-grpc
