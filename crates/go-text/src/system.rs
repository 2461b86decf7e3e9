//! Errors of the operating system in the words that programs of Go print, by which users and their searches know them.

use std::io;

/// What an error of the operating system says, without its number and with a small first letter: `host is down`.
/// Nothing for an error that the operating system has not made.
pub fn system_words(error: &io::Error) -> Option<String> {
    error.raw_os_error()?;
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    let first = letters.next()?.to_ascii_lowercase();
    Some(first.to_string() + letters.as_str())
}

/// The same for any error: one that the operating system has not made says what it is.
pub fn io_words(error: &io::Error) -> String {
    system_words(error).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_left_out() {
        for (error, of_system, of_any) in [
            (
                io::Error::from_raw_os_error(112),
                Some("host is down"),
                "host is down",
            ),
            (
                io::Error::from_raw_os_error(97),
                Some("address family not supported by protocol"),
                "address family not supported by protocol",
            ),
            (io::ErrorKind::NotFound.into(), None, "no such file or directory"),
            (io::Error::other("Ours"), None, "Ours"),
        ] {
            assert_eq!(system_words(&error).as_deref(), of_system);
            assert_eq!(io_words(&error), of_any);
        }
    }
}
