//! name-resolution
