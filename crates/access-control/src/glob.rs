//! One segment of a pattern: `*` stands for any bytes, also for none.

use memchr::memmem::Finder;

/// A pattern with at least one `*`, taken apart.
#[derive(Debug)]
pub(crate) struct Glob<'a> {
    /// What comes before the first `*`.
    pub(crate) prefix: &'a [u8],
    pub(crate) middle: Middle,
    /// What comes after the last `*`.
    pub(crate) suffix: &'a [u8],
}

/// What stands between two `*`, in order; never empty texts.
#[derive(Clone, Debug)]
pub(crate) struct Middle(Box<[Finder<'static>]>);

impl<'a> Glob<'a> {
    /// `None` for a text without `*`, which matches itself only.
    pub(crate) fn parse(pattern: &'a [u8]) -> Option<Self> {
        let mut pieces: Vec<&[u8]> = pattern.split(|byte| *byte == b'*').collect();
        if pieces.len() < 2 {
            return None;
        }
        let suffix = pieces.pop().unwrap_or_default();
        let prefix = pieces.remove(0);
        let middle = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .map(|piece| Finder::new(piece).into_owned())
            .collect();
        Some(Self {
            prefix,
            middle: Middle(middle),
            suffix,
        })
    }
}

impl Middle {
    /// Whether a text without the prefix and the suffix of the pattern matches. It takes time in proportion to the
    /// text, however the pattern looks.
    pub(crate) fn matches(&self, mut rest: &[u8]) -> bool {
        // The first place is the best one: what comes later has the most room behind it.
        for piece in &self.0 {
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
        let Some(glob) = Glob::parse(pattern.as_bytes()) else {
            return pattern == text;
        };
        let rest = text.as_bytes().strip_prefix(glob.prefix);
        let rest = rest.and_then(|rest| rest.strip_suffix(glob.suffix));
        rest.is_some_and(|rest| glob.middle.matches(rest))
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
