//! The command line: one table of flags, a parser with the habits of Go's `pflag`, and the values checked.

mod parse;
mod quantity;
mod settings;
mod table;

pub use parse::{Flags, Mode as SpecialMode, parse};
pub use settings::{AppProtocol, Options, Settings};

/// The version that `--version` prints and the metadata tells: stamped at build time, else `edge`.
pub const VERSION: &str = match option_env!("DAPRD_VERSION") {
    Some(version) => version,
    None => "edge",
};

/// The commit that `--build-info` and the first line of the log print: stamped at build time, else that of the checkout
/// (see `build.rs`).
pub const COMMIT: &str = match option_env!("DAPRD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
