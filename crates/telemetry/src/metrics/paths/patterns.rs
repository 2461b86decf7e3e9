//! Patterns of paths, as Go's `net/http.ServeMux` has them (<https://pkg.go.dev/net/http#hdr-Patterns-ServeMux>):
//! `{x}` is a segment, `{x...}` the rest, a slash at the end everything below, `{$}` the end. The most specific pattern
//! wins, whatever the order.

use std::collections::HashMap;

use thiserror::Error;

/// How deep and how long a pattern may be: to match takes a call frame for each segment.
const MAX_SEGMENTS: usize = 64;

/// A pattern that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("pathMatching: the pattern {pattern:?} is not used: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: String,
}

/// Patterns as a tree of segments.
#[derive(Debug, Default)]
pub(super) struct Patterns(Node);

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    /// Below a segment of any text.
    any: Option<Box<Node>>,
    /// The pattern that takes everything from here on.
    rest: Option<Leaf>,
    /// The pattern that ends here.
    end: Option<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    pattern: Box<str>,
    segments: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment<'a> {
    Literal(&'a str),
    Any,
    Rest,
    /// A slash and then nothing.
    End,
}

impl Patterns {
    /// The tree of all patterns that can be used.
    pub(super) fn new(patterns: impl IntoIterator<Item = String>) -> (Self, Vec<PatternError>) {
        let (mut tree, mut errors) = (Self::default(), Vec::new());
        for pattern in patterns {
            let added = segments(&pattern).and_then(|segments| tree.add(&pattern, &segments));
            if let Err(reason) = added {
                errors.push(PatternError { pattern, reason });
            }
        }
        (tree, errors)
    }

    fn add(&mut self, pattern: &str, segments: &[Segment<'_>]) -> Result<(), String> {
        let mut node = &mut self.0;
        let mut is_rest = false;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry((*text).into()).or_default(),
                Segment::End => node.literals.entry("/".into()).or_default(),
                Segment::Any => node.any.get_or_insert_default(),
                Segment::Rest => {
                    is_rest = true;
                    node
                }
            };
        }
        let place = if is_rest { &mut node.rest } else { &mut node.end };
        if let Some(other) = place {
            return Err(format!("it matches the same paths as {:?}", other.pattern));
        }
        *place = Some(Leaf {
            pattern: pattern.into(),
            segments: segments.len(),
        });
        Ok(())
    }

    /// The most specific pattern that matches a path, which begins with a slash. If there is none, one that stands for
    /// everything below the path may be wanted as well.
    pub(super) fn best(&self, path: &str, with_below: bool) -> Option<&str> {
        if let Some(leaf) = self.0.find(path, false) {
            return Some(&leaf.pattern);
        }
        if !with_below {
            return None;
        }
        let slashes = path.bytes().filter(|byte| *byte == b'/').count() + 1;
        let below = (!path.ends_with('/'))
            .then(|| self.0.find(path, true))
            .flatten()?;
        (below.segments == slashes).then_some(&below.pattern)
    }
}

impl Node {
    /// The best pattern below this node for the rest of a path, behind which another slash may be assumed.
    fn find(&self, path: &str, mut has_slash: bool) -> Option<&Leaf> {
        let mut path = path;
        if path.is_empty() {
            if !has_slash {
                return self.end.as_ref();
            }
            (path, has_slash) = ("/", false);
        }
        let (segment, rest) = first(path);
        let literal = self
            .literals
            .get(segment)
            .and_then(|node| node.find(rest, has_slash));
        literal
            .or_else(|| {
                let any = self.any.as_ref().filter(|_| segment != "/")?;
                any.find(rest, has_slash)
            })
            .or(self.rest.as_ref())
    }
}

/// The first segment of a path, and what follows; a slash at the end is a segment by itself.
fn first(path: &str) -> (&str, &str) {
    let behind = path.strip_prefix('/').unwrap_or(path);
    if behind.is_empty() {
        return ("/", "");
    }
    behind.find('/').map_or((behind, ""), |at| behind.split_at(at))
}

fn segments(pattern: &str) -> Result<Vec<Segment<'_>>, String> {
    let Some(mut rest) = pattern.strip_prefix('/') else {
        return Err("it does not begin with a slash".to_owned());
    };
    let (mut segments, mut names) = (Vec::new(), Vec::new());
    loop {
        if segments.len() == MAX_SEGMENTS {
            return Err(format!("it has more than {MAX_SEGMENTS} segments"));
        }
        let Some((text, behind)) = rest
            .split_once('/')
            .map(|(text, behind)| (text, Some(behind)))
            .or_else(|| (!rest.is_empty()).then_some((rest, None)))
        else {
            // The slash at the end.
            segments.push(Segment::Rest);
            return Ok(segments);
        };
        segments.push(segment(text, behind.is_none(), &mut names)?);
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(segments),
        }
    }
}

fn segment<'a>(text: &'a str, is_last: bool, names: &mut Vec<&'a str>) -> Result<Segment<'a>, String> {
    if matches!(text, "." | "..") {
        return Err("no path has a segment of dots".to_owned());
    }
    if !text.contains(['{', '}']) {
        return Ok(Segment::Literal(text));
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .filter(|inner| !inner.contains(['{', '}']))
        .ok_or_else(|| format!("a wildcard is a whole segment, unlike {text:?}"))?;
    if inner == "$" {
        return if is_last {
            Ok(Segment::End)
        } else {
            Err("{$} is not at its end".to_owned())
        };
    }
    let (name, is_rest) = inner
        .strip_suffix("...")
        .map_or((inner, false), |name| (name, true));
    if is_rest && !is_last {
        return Err("{...} is not at its end".to_owned());
    }
    let begins_well = name.starts_with(|first: char| first == '_' || first.is_alphabetic());
    if !begins_well
        || !name
            .chars()
            .all(|character| character == '_' || character.is_alphanumeric())
    {
        return Err(format!("{name:?} is no name of a wildcard"));
    }
    if names.contains(&name) {
        return Err(format!("it has the wildcard {name:?} twice"));
    }
    names.push(name);
    Ok(if is_rest { Segment::Rest } else { Segment::Any })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(patterns: &[&str]) -> Patterns {
        let (tree, errors) = Patterns::new(patterns.iter().map(ToString::to_string));
        assert!(errors.is_empty(), "{errors:?}");
        tree
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let tree = tree(&[
            "/orders/{id}",
            "/orders/new",
            "/orders/{id}/lines/{line}",
            "/orders/{id}/{rest...}",
            "/files/",
            "/files/{$}",
            "/exact/{$}",
            "/a/b/",
        ]);
        for (path, wanted) in [
            ("/orders/7", Some("/orders/{id}")),
            ("/orders/new", Some("/orders/new")),
            ("/orders/7/lines/3", Some("/orders/{id}/lines/{line}")),
            ("/orders/7/lines", Some("/orders/{id}/{rest...}")),
            ("/orders/7/", Some("/orders/{id}/{rest...}")),
            ("/orders/new/lines/3", Some("/orders/{id}/lines/{line}")),
            ("/orders/", None),
            ("/orders", None),
            ("/files/", Some("/files/{$}")),
            ("/files/a/b", Some("/files/")),
            ("/files", Some("/files/{$}")),
            ("/exact", Some("/exact/{$}")),
            ("/exact/x", None),
            ("/a/b", Some("/a/b/")),
            ("/a", None),
            ("/", None),
        ] {
            assert_eq!(tree.best(path, true), wanted, "{path}");
        }
    }

    #[test]
    fn a_slash_takes_what_nobody_else_does() {
        let tree = tree(&["/", "/a/"]);
        for (path, wanted) in [("/", "/"), ("/x/y", "/"), ("/a/b", "/a/"), ("/a", "/")] {
            assert_eq!(tree.best(path, true), Some(wanted), "{path}");
        }
    }

    #[test]
    fn patterns_that_cannot_be_used() {
        for (pattern, reason) in [
            ("orders", "it does not begin with a slash"),
            ("/a{x}", "a wildcard is a whole segment"),
            ("/{x}y", "a wildcard is a whole segment"),
            ("/{", "a wildcard is a whole segment"),
            ("/{}", "\"\" is no name"),
            ("/{1}", "\"1\" is no name"),
            ("/{...}", "\"\" is no name"),
            ("/{$}/a", "{$} is not at its end"),
            ("/{x...}/a", "{...} is not at its end"),
            ("/{x}/{x}", "it has the wildcard \"x\" twice"),
            ("/a/../b", "no path has a segment of dots"),
        ] {
            let (_, errors) = Patterns::new([pattern.to_owned()]);
            assert!(errors[0].reason.starts_with(reason), "{pattern}: {errors:?}");
        }
        let (_, errors) = Patterns::new(["/a/{x}", "/a/{y}"].map(ToOwned::to_owned));
        assert_eq!(
            errors[0].to_string(),
            "pathMatching: the pattern \"/a/{y}\" is not used: it matches the same paths as \"/a/{x}\""
        );
        let (_, errors) = Patterns::new(["/a".repeat(1000)]);
        assert_eq!(errors[0].reason, "it has more than 64 segments");
    }
}
