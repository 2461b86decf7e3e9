//! The method path of an invocation and its one normaliser.
//!
//! What access control and metrics judge must be what the app is sent, so every path passes through
//! [`MethodPath::parse`] once at each trust boundary: at the door of the caller's sidecar and where the
//! callee's sidecar takes the call in. See the page "How a call travels" of the documentation.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// A normalised method path: no forbidden character, no `//`, no `.` or `..` segment, no trailing slash.
///
/// A leading slash is kept as the caller wrote it. The bytes need not be UTF-8: an HTTP caller may have
/// percent-encoded anything. Cloning shares the text.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct MethodPath(Bytes);

/// A method path that is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MethodError {
    /// The path has a `#`, a `?` or a NUL.
    #[error("method contains forbidden character: {}", go_quote(.0))]
    Forbidden(Bytes),
    /// The path has another control character.
    #[error("method contains control character at position {position}: {}", go_quote(.method))]
    Control {
        /// Where, in bytes from the start.
        position: usize,
        /// The whole path.
        method: Bytes,
    },
}

impl MethodPath {
    /// Normalises a path that was percent-decoded already, if it came percent-encoded.
    ///
    /// Rules: `#`, `?`, NUL and the control bytes 0x00–0x1f and 0x7f are refused; then the path is cleaned
    /// lexically ([`clean_path`]), leading `../` are dropped, and `.` or `..` alone become empty.
    pub fn parse(path: impl Into<Bytes>) -> Result<Self, MethodError> {
        let path = path.into();
        check_characters(&path)?;
        if is_clean(&path) {
            return Ok(Self(path));
        }
        let cleaned = clean_path(&path);
        let mut rest = &*cleaned;
        while let Some(after) = rest.strip_prefix(b"../") {
            rest = after;
        }
        let rest: &[u8] = if rest == b".." || rest == b"." { b"" } else { rest };
        Ok(Self(Bytes::copy_from_slice(rest)))
    }

    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text, if it is UTF-8 (it must be to cross to another sidecar).
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The path with one leading slash, as access control and HTTP apps see it.
    pub fn rooted(&self) -> Vec<u8> {
        let mut rooted = Vec::with_capacity(self.0.len() + 1);
        if self.0.first() != Some(&b'/') {
            rooted.push(b'/');
        }
        rooted.extend_from_slice(&self.0);
        rooted
    }
}

impl fmt::Display for MethodPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for MethodPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn check_characters(path: &Bytes) -> Result<(), MethodError> {
    if path.iter().any(|byte| matches!(byte, b'#' | b'?' | 0)) {
        return Err(MethodError::Forbidden(path.clone()));
    }
    match path.iter().position(|byte| *byte < 0x20 || *byte == 0x7f) {
        Some(position) => Err(MethodError::Control {
            position,
            method: path.clone(),
        }),
        None => Ok(()),
    }
}

/// Whether [`clean_path`] and the trimming after it would change nothing: most paths, which then are not copied.
fn is_clean(path: &[u8]) -> bool {
    if path.is_empty() || path == b"/" {
        return true;
    }
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    relative
        .split(|byte| *byte == b'/')
        .all(|segment| !matches!(segment, b"" | b"." | b".."))
}

/// Cleans a slash-separated path lexically, with the results of Go's `path.Clean`.
///
/// Runs of slashes become one, `.` segments go, `x/..` goes with what it undoes, a rooted `/..` is `/`, the
/// trailing slash goes, and an empty result is `.`. Percent signs mean nothing here. A path that is clean is not copied.
pub fn clean_path(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.is_empty() && is_clean(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(cleaned(path))
}

fn cleaned(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => {
                kept.pop();
            }
            b".." if rooted => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/".as_slice(), &joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Text in double quotes as Go's `%q` prints it: the form that Dapr's error texts have.
pub(crate) fn go_quote(text: &[u8]) -> String {
    use fmt::Write as _;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\u{7}' => quoted.push_str("\\a"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{b}' => quoted.push_str("\\v"),
                control if (control as u32) < 0x20 || control as u32 == 0x7f => {
                    let _ = write!(quoted, "\\x{:02x}", control as u32);
                }
                control if control.is_control() => {
                    let _ = write!(quoted, "\\u{:04x}", control as u32);
                }
                printable => quoted.push(printable),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Result<String, String> {
        MethodPath::parse(path.to_owned())
            .map(|method| method.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn cleaning_is_that_of_go() {
        for (path, wanted) in [
            ("", "."),
            ("abc", "abc"),
            ("abc/def", "abc/def"),
            (".", "."),
            ("..", ".."),
            ("../..", "../.."),
            ("../../abc", "../../abc"),
            ("/abc", "/abc"),
            ("/", "/"),
            ("abc/", "abc"),
            ("a/../", "."),
            ("abc//def//ghi", "abc/def/ghi"),
            ("//abc", "/abc"),
            ("abc/./def", "abc/def"),
            ("abc/def/ghi/../jkl", "abc/def/jkl"),
            ("abc/def/../../..", ".."),
            ("/abc/def/../../..", "/"),
            ("abc/../../././../def", "../../def"),
            ("abc/./../def", "def"),
        ] {
            assert_eq!(*clean_path(path.as_bytes()), *wanted.as_bytes(), "{path:?}");
        }
    }

    #[test]
    fn paths() {
        for (path, wanted) in [
            ("", ""),
            ("/", "/"),
            ("public", "public"),
            ("/public", "/public"),
            ("public/", "public"),
            ("api///v1///users", "api/v1/users"),
            ("admin/../../public", "public"),
            ("../../public", "public"),
            ("..", ""),
            (".", ""),
            ("/..", "/"),
            ("a%2F..%2Fb", "a%2F..%2Fb"),
            ("admin\\..\\public", "admin\\..\\public"),
            ("a*b\"c", "a*b\"c"),
        ] {
            assert_eq!(parse(path), Ok(wanted.to_owned()), "{path:?}");
        }
    }

    #[test]
    fn refused_paths() {
        for (path, wanted) in [
            ("a#b", "method contains forbidden character: \"a#b\""),
            ("a?b", "method contains forbidden character: \"a?b\""),
            ("a\0b", "method contains forbidden character: \"a\\x00b\""),
            (
                "a\tb",
                "method contains control character at position 1: \"a\\tb\"",
            ),
            (
                "ab\u{7f}",
                "method contains control character at position 2: \"ab\\x7f\"",
            ),
            (
                "\r\n",
                "method contains control character at position 0: \"\\r\\n\"",
            ),
        ] {
            assert_eq!(parse(path), Err(wanted.to_owned()), "{path:?}");
        }
    }

    #[test]
    fn bytes_beyond_utf8_are_kept() {
        let method = MethodPath::parse(Bytes::from_static(b"a/\xff")).unwrap();
        assert_eq!(method.as_bytes(), b"a/\xff");
        assert_eq!(method.as_str(), None);
    }

    proptest! {
        // What the second sidecar makes of the first one's result is the same path: what access control and
        // metrics saw is what the app gets.
        #[test]
        fn normalising_twice_changes_nothing(path in "[a-c./%\\\\*]{0,24}") {
            let once = MethodPath::parse(path).unwrap();
            let twice = MethodPath::parse(once.0.clone()).unwrap();
            prop_assert_eq!(&once, &twice);
            let text = once.as_str().unwrap();
            prop_assert!(!text.contains("//"));
            prop_assert!(!text.split('/').any(|segment| segment == ".." || segment == "."));
        }

        #[test]
        fn any_bytes_are_judged(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(method) = MethodPath::parse(path) {
                prop_assert!(method.as_bytes().iter().all(|byte| *byte >= 0x20 && *byte != 0x7f));
            }
        }

        #[test]
        fn the_short_cut_agrees_with_cleaning(path in "[ab./]{1,16}") {
            if is_clean(path.as_bytes()) {
                prop_assert_eq!(clean_path(path.as_bytes()), path.as_bytes());
            }
        }
    }
}
