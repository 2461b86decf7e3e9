//! Connections against peers that are scripted, and against another implementation.

mod again;
mod breaches;
mod calls;
mod cancelling;
mod floods;
mod flow;
mod gathering;
mod going;
mod http;
mod others;
mod plan;
mod random;
mod stalled;
mod streams;
mod stress;
