//! Resiliency policies: how hard the calls of an app are tried, and what its callers then see.

mod app;
mod beyond;
mod policies;
mod recorded;
mod stage;
