//! app-channel
