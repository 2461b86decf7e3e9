//! Metrics that are pushed to a collector of OpenTelemetry, beside those that are scraped.
//!
//! A [`PushPlan`] is what the configuration and the variables of OpenTelemetry want; [`PushPlan::begin`] starts the task
//! that gathers what the metrics port would show and hands it over, every minute unless somebody says otherwise. Calls
//! know nothing of it. What is counted is cumulative: an export that fails is not repeated, since the next one says the
//! same and more. The last one is made when nobody holds the [`Pushing`] any more.

mod encode;
mod plan;
mod task;

pub use plan::{OtlpSpec, PushError, PushPlan};
pub use task::Pushing;
