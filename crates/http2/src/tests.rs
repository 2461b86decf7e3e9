//! Connections against peers that are scripted, and against another implementation.

mod breaches;
mod calls;
mod cancelling;
mod floods;
mod flow;
mod gathering;
mod going;
mod others;
mod plan;
mod random;
mod streams;
mod stress;
