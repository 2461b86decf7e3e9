//! One segment of a pattern: `*` stands for any bytes, also for none.

use memchr::memmem::Finder;

/// A pattern with at least one `*`. Matching takes time in proportion to the text, however the pattern looks.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    prefix: Box<[u8]>,
    /// What stands between two `*`, in order; never empty.
    middle: Box<[Finder<'static>]>,
    suffix: Box<[u8]>,
}

impl Glob {
    /// `None` for a text without `*`, which matches itself only.
    pub(crate) fn parse(pattern: &[u8]) -> Option<Self> {
        let mut pieces: Vec<&[u8]> = pattern.split(|byte| *byte == b'*').collect();
        if pieces.len() < 2 {
            return None;
        }
        let suffix = pieces.pop().unwrap_or_default().into();
        let prefix = pieces.remove(0).into();
        let middle = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .map(|piece| Finder::new(piece).into_owned())
            .collect();
        Some(Self {
            prefix,
            middle,
            suffix,
        })
    }

    /// What comes before the first `*`.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What comes after the last `*`.
    pub(crate) fn suffix(&self) -> &[u8] {
        &self.suffix
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let Some(rest) = text.strip_prefix(&*self.prefix) else {
            return false;
        };
        let Some(mut rest) = rest.strip_suffix(&*self.suffix) else {
            return false;
        };
        // The first place is the best one: what comes later has the most room behind it.
        for piece in &self.middle {
            match piece.find(rest) {
                Some(at) => rest = &rest[at + piece.needle().len()..],
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern.as_bytes()).map_or(pattern == text, |glob| glob.matches(text.as_bytes()))
    }

    /// The definition, by recursion.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            Some((first, rest)) => text
                .split_first()
                .is_some_and(|(begin, text)| begin == first && naive(rest, text)),
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, wanted) in [
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*x", "x", true),
            ("*x", "ax", true),
            ("*x", "xa", false),
            ("a*d", "ad", true),
            ("a*d", "abcd", true),
            ("a*a", "a", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("***", "", true),
            ("a**b", "ab", true),
            ("ab", "ab", true),
            ("ab", "abc", false),
            ("a?", "ab", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn long_patterns_take_no_longer_than_they_are() {
        // A matcher that goes back on every star would not end.
        let pattern = format!("{}b", "*a".repeat(30_000));
        let text = "a".repeat(60_000);
        assert!(!matches(&pattern, &text));
        assert!(matches(&format!("{pattern}*"), &format!("{text}b")));
        assert!(matches(&"*".repeat(60_000), &text));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn as_defined(pattern in "[ab*]{0,8}", text in "[ab*]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
