//! How Go writes and reads plain values (durations, numbers, truth values, texts in quotation marks), and how it
//! words the errors of the operating system.
//!
//! Flags, variables, resources and settings of Dapr hold such values, and log lines and answers show them. All places
//! must accept the same values and print them alike. So there is one reader and one writer of each kind, with the
//! texts of Go's errors. See the packages `strconv` and `time` of Go's documentation.
//!
//! The crate knows nothing but text. The user of a value knows what it is for, which bounds it has, and what takes
//! its place when it cannot be read. Numbers of Kubernetes (`10Mi`) are Dapr's own matter, and so are the few values
//! that Dapr reads in another way, such as bare milliseconds in a policy.

mod duration;
mod number;
mod quote;
mod system;
mod truth;

pub use duration::{DurationError, format_duration, parse_duration, positive};
pub use number::{NumberError, atoi, parse_bool, parse_float, parse_int, parse_uint, push_float};
pub use quote::quote;
pub use system::{io_words, system_words};
pub use truth::is_truthy;
