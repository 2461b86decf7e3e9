//! The integration suite: one module per subject.

#![cfg(test)]
