//! Who is told of calls: the API log and the metrics.

use std::time::Duration;

use http::HeaderValue;

/// A call and how it ended.
#[derive(Debug)]
pub struct Call {
    /// The full method, like `/dapr.proto.runtime.v1.Dapr/InvokeService`.
    pub method: String,
    /// What the caller calls itself.
    pub user_agent: Option<HeaderValue>,
    /// The status code; numbers that nobody has defined are kept.
    pub code: i32,
    /// From the head of the call to its answer.
    pub duration: Duration,
}

/// Told of calls.
pub trait Observer: Send + Sync + 'static {
    /// Whether calls are to be told at all.
    fn wants_calls(&self) -> bool;

    /// A call was answered.
    fn finished(&self, call: Call);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn wants_calls(&self) -> bool {
        false
    }

    fn finished(&self, _: Call) {}
}
