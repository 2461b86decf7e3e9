//! Errors of the operating system in the words that programs of Go print, by which users and their searches know them.

use std::io;

/// What an error of the operating system says, without its number and with a small first letter: `host is down`.
/// Nothing for an error that the operating system has not made.
pub(crate) fn system_words(error: &io::Error) -> Option<String> {
    error.raw_os_error()?;
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    let first = letters.next()?.to_ascii_lowercase();
    Some(first.to_string() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_left_out() {
        for (error, wanted) in [
            (io::Error::from_raw_os_error(112), Some("host is down")),
            (
                io::Error::from_raw_os_error(97),
                Some("address family not supported by protocol"),
            ),
            (io::Error::other("Ours"), None),
        ] {
            assert_eq!(system_words(&error).as_deref(), wanted);
        }
    }
}
