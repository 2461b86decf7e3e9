//! What some methods or verbs of a target have in place of what the target has.
//!
//! A key is a path, a verb, or both: `orders/1`, `orders/*`, `DELETE`, `GET orders/*`. The most specific one counts: a
//! whole path before a beginning, a longer beginning before a shorter one, and one with a verb before one without.

use std::sync::Arc;

use invoke_core::Verb;

use crate::policies::TargetPolicy;

/// So many keys one target may have: each call looks at them, one after the other.
pub(crate) const MOST: usize = 64;

/// Which calls a key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    verb: Option<Verb>,
    path: Path,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Path {
    Any,
    Below(Box<str>),
    Whole(Box<str>),
}

impl Pattern {
    /// Reads a key; says why it is none.
    pub(crate) fn parse(key: &str) -> Result<Self, String> {
        let mut words = key.split_ascii_whitespace();
        let (first, second) = (words.next(), words.next());
        if words.next().is_some() {
            return Err("it has more than a verb and a path".to_owned());
        }
        let is_verb = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase());
        let (verb, path) = match (first, second) {
            (None, _) => return Err("it is empty".to_owned()),
            (Some(verb), Some(path)) => (Some(verb), Some(path)),
            (Some(word), None) if is_verb(word) => (Some(word), None),
            (Some(word), None) => (None, Some(word)),
        };
        let verb = verb.map(known).transpose()?;
        let path = path.map_or(Ok(Path::Any), path_of)?;
        Ok(Self { verb, path })
    }

    /// How specific it is.
    fn rank(&self) -> (usize, usize, bool) {
        let (kind, length) = match &self.path {
            Path::Any => (0, 0),
            Path::Below(path) => (1, path.len()),
            Path::Whole(path) => (2, path.len()),
        };
        (kind, length, self.verb.is_some())
    }

    fn is_for(&self, verb: Option<Verb>, method: &[u8]) -> bool {
        let is_verb = self.verb.is_none_or(|wanted| verb == Some(wanted));
        is_verb
            && match &self.path {
                Path::Any => true,
                Path::Below(path) => method.starts_with(path.as_bytes()),
                Path::Whole(path) => method == path.as_bytes(),
            }
    }
}

fn known(name: &str) -> Result<Verb, String> {
    const VERBS: [Verb; 8] = [
        Verb::GET,
        Verb::HEAD,
        Verb::POST,
        Verb::PUT,
        Verb::DELETE,
        Verb::OPTIONS,
        Verb::TRACE,
        Verb::PATCH,
    ];
    let known = VERBS.into_iter().find(|verb| verb.name() == Some(name));
    known.ok_or_else(|| format!("there is no verb {name:?}"))
}

fn path_of(path: &str) -> Result<Path, String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (begin, is_below) = match path.strip_suffix('*') {
        Some(begin) => (begin, true),
        None => (path, false),
    };
    if begin.contains(['*', '?', '#']) {
        return Err("`*` may stand at the end of a path, and there is no query".to_owned());
    }
    match (begin, is_below) {
        ("", true) => Ok(Path::Any),
        ("", false) => Err("its path is empty".to_owned()),
        (begin, true) if !begin.ends_with('/') => Err("`*` stands for all that is below a `/`".to_owned()),
        (begin, true) => Ok(Path::Below(begin.into())),
        (begin, false) => Ok(Path::Whole(begin.into())),
    }
}

/// The policies of methods of one target, the most specific first.
#[derive(Debug, Default)]
pub(crate) struct Methods(Box<[(Pattern, Arc<TargetPolicy>)]>);

impl Methods {
    pub(crate) fn new(mut methods: Vec<(Pattern, Arc<TargetPolicy>)>) -> Self {
        methods.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        Self(methods.into())
    }

    /// The policy that a call has in place of that of its target.
    pub(crate) fn find(&self, verb: Option<Verb>, method: &[u8]) -> Option<&Arc<TargetPolicy>> {
        // The common case: nobody has any.
        if self.0.is_empty() {
            return None;
        }
        let method = method.strip_prefix(b"/").unwrap_or(method);
        let found = self.0.iter().find(|(pattern, _)| pattern.is_for(verb, method));
        found.map(|(_, policy)| policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (key, wanted) in [
            ("", "it is empty"),
            ("GET a b", "it has more than a verb and a path"),
            ("FETCH a", "there is no verb \"FETCH\""),
            ("CONNECT", "there is no verb \"CONNECT\""),
            ("get a", "there is no verb \"get\""),
            ("/", "its path is empty"),
            ("a*", "`*` stands for all that is below a `/`"),
            (
                "a/*/b",
                "`*` may stand at the end of a path, and there is no query",
            ),
            ("a?b", "`*` may stand at the end of a path, and there is no query"),
        ] {
            assert_eq!(Pattern::parse(key).unwrap_err(), wanted, "{key:?}");
        }
    }

    #[test]
    fn the_most_specific_one_is_first() {
        let keys = [
            "*",
            "GET",
            "orders/*",
            "GET orders/*",
            "orders/old/*",
            "orders/1",
            "DELETE /orders/1",
        ];
        let mut patterns: Vec<_> = keys.map(|key| (key, Pattern::parse(key).unwrap())).into();
        patterns.sort_by_key(|(_, pattern)| std::cmp::Reverse(pattern.rank()));
        let find = |verb, method: &str| {
            let found = patterns
                .iter()
                .find(|(_, one)| one.is_for(Some(verb), method.as_bytes()));
            found.unwrap().0
        };
        for (verb, method, wanted) in [
            (Verb::GET, "x", "GET"),
            (Verb::POST, "x", "*"),
            (Verb::POST, "orders", "*"),
            (Verb::GET, "orders/2", "GET orders/*"),
            (Verb::POST, "orders/2", "orders/*"),
            (Verb::GET, "orders/old/2", "orders/old/*"),
            (Verb::GET, "orders/1", "orders/1"),
            (Verb::DELETE, "orders/1", "DELETE /orders/1"),
        ] {
            assert_eq!(find(verb, method), wanted, "{verb} {method}");
        }
        assert!(!Pattern::parse("GET").unwrap().is_for(None, b"x"));
    }
}
