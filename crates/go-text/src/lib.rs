//! How Go writes and reads plain values: durations, numbers, truth values, and texts in
//! quotation marks, and what the operating system says when something fails.
//!
//! Flags, variables, resources and settings of Dapr hold such values, and log lines and answers show them. What one
//! place accepts another must accept, and both must print it alike, so there is one reader and one writer of each
//! kind, with the texts of Go's errors. See the packages `strconv` and `time` of Go's documentation.
//!
//! The crate knows nothing but text: what a value is for, which bounds it has and what stands in its place when it
//! cannot be read is said where it is used. Numbers of Kubernetes (`10Mi`) are Dapr's own matter, and so are the few
//! values that Dapr reads in another way, such as bare milliseconds in a policy.

mod duration;
mod number;
mod quote;
mod system;

pub use duration::{DurationError, format_duration, parse_duration, positive};
pub use number::{NumberError, atoi, parse_bool, parse_float, parse_int, parse_uint, push_float};
pub use quote::quote;
pub use system::{io_words, system_words};
