//! The scope of log lines about the sidecar as a whole.

pub const SCOPE: &str = "dapr.runtime";
