//! What the HTTP API and the gRPC API share, beneath their protocols.
//!
//! [`Metadata`] is what the sidecar tells about itself and what apps and tools leave there; [`ApiToken`] is what apps
//! must show; [`ApiLists`] says which APIs there are; [`baggage`] judges W3C baggage. Both APIs hold the same
//! instances: a value that is set through one is seen through the other, and a rule holds on both.
//!
//! This crate knows no server and no route: which status a refusal becomes is decided by each API, in one place.

pub mod baggage;
mod lists;
mod metadata;
mod token;

pub use lists::{ApiLists, ApiRule};
pub use metadata::{AppConnection, AppHealth, ComponentInfo, Metadata, MetadataSettings};
pub use token::{ApiToken, TokenError};
