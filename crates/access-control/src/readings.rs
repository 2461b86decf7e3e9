//! The forms in which an HTTP app may read a method.
//!
//! A method is decoded text, but apps get it as the path of a URL, where a percent sign begins an escape: the method
//! `admin%2Fsecret` is one segment for the policy and two for the app. An app, or a proxy in front of its handlers,
//! may decode more than once, and may resolve `..` after it has decoded. A call is allowed if every form is.

use std::borrow::Cow;

use invoke_core::clean_path;

/// How often a path is decoded and looked at in between; after that the innermost form alone is looked at.
const ROUNDS: usize = 8;

/// Whether `allows` holds for a method in every form. Without a percent sign there is one form.
pub(crate) fn all(method: &[u8], mut allows: impl FnMut(&[u8]) -> bool) -> bool {
    if !allows(method) {
        return false;
    }
    if !method.contains(&b'%') {
        return true;
    }
    let innermost = fully_decoded(method);
    if !allows_path(&innermost, &mut allows) {
        return false;
    }
    let mut path = Cow::Borrowed(method);
    for _ in 0..ROUNDS {
        let Some(decoded) = decoded(&path) else {
            return true;
        };
        if !allows_path(&decoded, &mut allows) {
            return false;
        }
        path = Cow::Owned(resolved(&decoded));
    }
    allows_path(&fully_decoded(&path), &mut allows)
}

/// A decoded path as it is, with `..` and the like resolved, and up to what ends a path in a URL.
fn allows_path(path: &[u8], allows: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let end = path
        .iter()
        .position(|byte| matches!(byte, b'?' | b'#' | 0x7f) || *byte < 0x20);
    allows(path)
        && allows(&resolved(path))
        && end.is_none_or(|end| allows(&path[..end]) && allows(&resolved(&path[..end])))
}

/// The path with `.`, `..` and empty segments resolved as from the root.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut rooted = Vec::with_capacity(path.len() + 1);
    rooted.push(b'/');
    rooted.extend_from_slice(path);
    match clean_path(&rooted) {
        Cow::Owned(cleaned) => cleaned,
        Cow::Borrowed(_) => rooted,
    }
}

/// The path decoded once; `None` if that changes nothing.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match escape(rest) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    (out.len() < path.len()).then_some(out)
}

/// The path decoded until nothing is left to decode, in one pass: whenever the end of what was written is an escape,
/// it is replaced. Escapes cannot overlap, so their order does not matter.
fn fully_decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        out.push(*byte);
        while let Some(decoded) = out.last_chunk::<3>().and_then(|end| escape(end)) {
            out.truncate(out.len() - 3);
            out.push(decoded);
        }
    }
    out
}

/// The byte of the escape that a text begins with.
fn escape(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    match text {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// All forms, without the slash that a path may begin with.
    fn forms(method: &str) -> BTreeSet<String> {
        let mut forms = BTreeSet::new();
        assert!(all(method.as_bytes(), |form| {
            let form = String::from_utf8_lossy(form);
            forms.insert(form.strip_prefix('/').unwrap_or(&form).to_owned());
            true
        }));
        forms
    }

    #[test]
    fn forms_of_methods() {
        for (method, wanted) in [
            ("admin/x", &["admin/x"][..]),
            ("50%", &["50%"]),
            ("admin%2Fx", &["admin%2Fx", "admin/x"]),
            ("a%252fb", &["a%252fb", "a%2fb", "a/b"]),
            (
                "public%2F..%2Fadmin",
                &["admin", "public%2F..%2Fadmin", "public/../admin"],
            ),
            ("%2e%2e/a", &["%2e%2e/a", "../a", "a"]),
            ("a%3Fb", &["a", "a%3Fb", "a?b"]),
            ("a%2F%2Fb", &["a%2F%2Fb", "a//b", "a/b"]),
        ] {
            let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
            assert_eq!(forms(method), wanted, "{method}");
        }
    }

    #[test]
    fn many_layers_take_no_time_of_their_own() {
        let method = format!("%{}61dmin", "25".repeat(32_000));
        assert!(!all(method.as_bytes(), |form| form != b"admin"));
        assert!(all(method.as_bytes(), |form| form != b"other"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn in_one_pass_as_in_many(path in "[%2560aF/.]{0,24}") {
            let mut many = path.clone().into_bytes();
            while let Some(next) = decoded(&many) {
                many = next;
            }
            prop_assert_eq!(fully_decoded(path.as_bytes()), many);
        }

        #[test]
        fn any_bytes_have_forms(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(all(&path, |_| true));
        }
    }
}
