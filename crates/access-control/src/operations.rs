//! The operations of a policy: a tree over the segments of paths.
//!
//! The children of a node are tried in the order in which they were written, the first that matches is taken, and
//! nobody goes back. Children with a fixed text are found by hash, and only the patterns written before it are tried.

mod children;
mod prefixes;

use children::Children;

/// The number of an operation in the order of the file.
pub(crate) type Rule = usize;

/// The segment that matches one whole segment, at the end of a path only.
const SINGLE: &[u8] = b"*";
/// The segment that matches any one segment.
const MULTI: &[u8] = b"**";

/// The tree.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// The first is the root. A list, because a tree of boxes as deep as a path is long could not be dropped.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    rule: Option<Rule>,
    /// Whether the segment of this node is `*`.
    is_single: bool,
    children: Children,
}

/// The segments of a path, whether it begins with a slash or not.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.strip_prefix(b"/")
        .unwrap_or(path)
        .split(|byte| *byte == b'/')
}

impl Operations {
    /// Adds an operation. The error is the one that has the same name already, which stays.
    pub(crate) fn add(&mut self, name: &[u8], rule: Rule) -> Result<(), Rule> {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for segment in segments(name) {
            at = match self.nodes[at].children.exact(segment) {
                Some(child) => child,
                None => {
                    let child = self.nodes.len();
                    self.nodes[at].children.add(segment, child);
                    self.nodes.push(Node {
                        is_single: segment == SINGLE,
                        ..Node::default()
                    });
                    child
                }
            };
        }
        let node = &mut self.nodes[at];
        match node.rule {
            Some(first) => Err(first),
            None => {
                node.rule = Some(rule);
                Ok(())
            }
        }
    }

    /// The operation that decides about a path. Every operation is also one for what is below it.
    pub(crate) fn find(&self, path: &[u8]) -> Option<Rule> {
        let mut node = self.nodes.first()?;
        let mut segments = segments(path).peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            node = &self.nodes[node.children.first(segment, is_last)?];
            match node.rule {
                // Only the segment `*` itself gets here in the middle of a path; its rule is for the end.
                Some(_) if node.is_single && !is_last => {}
                Some(rule) => return Some(rule),
                // `/a/*` and `/a/**` are also rules for `/a`.
                None if is_last => return self.nodes[node.children.first(SINGLE, true)?].rule,
                None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(rules: &[&str], method: &str) -> Option<usize> {
        let mut operations = Operations::default();
        for (number, rule) in rules.iter().enumerate() {
            let _ = operations.add(rule.as_bytes(), number);
        }
        operations.find(method.as_bytes())
    }

    #[test]
    fn matching() {
        let nested: &[&str] = &["/op7/a/b/*", "/op7/a/b/c/f", "/op7/a/b*", "/op7/c/**"];
        for (rules, method, wanted) in [
            (&["/public"][..], "/public/extra", Some(0)),
            (&["/public"], "public", Some(0)),
            (&["/public"], "/publicx", None),
            (&["/public"], "/", None),
            (&["/public"], "", None),
            (&["/op/*"], "/op", Some(0)),
            (&["/op/*"], "/op/a", Some(0)),
            (&["/op/*"], "/op/a/b", None),
            (&["/op/**"], "/op", Some(0)),
            (&["/op/**"], "/op/a/b/c", Some(0)),
            (&["/op/**"], "/opx", None),
            (&["/op1/*/a"], "/op1/x/a", None),
            (&["/op1/*/a"], "/op1/*/a", Some(0)),
            (&["/op1/*", "/op1/*/a"], "/op1/*/a", Some(1)),
            (&["/op1/**/a"], "/op1/x/a", Some(0)),
            (&["/op1/**/a"], "/op1/a", None),
            (&["/op1/**/a"], "/op1/x/y/a", None),
            (&["/op", "/op/sub"], "/op/sub", Some(0)),
            (&["/op/sub", "/op"], "/op/sub", Some(1)),
            (&["/x/y", "/x/*"], "/x/y", Some(0)),
            (&["/x/y", "/x/*"], "/x/z", Some(1)),
            (&["/x/y", "/x/*"], "/x/y/z", Some(0)),
            (&["/x/y", "/x/*"], "/x/z/w", None),
            (&["/a*/b", "/ab/c"], "/ab/c", None),
            (&["/ab/c", "/a*/b"], "/ab/c", Some(0)),
            (&["/*"], "/", Some(0)),
            (&["/*"], "", Some(0)),
            (&["/*"], "/x/y", None),
            (&["/**"], "/x/y", Some(0)),
            (&["/"], "/", Some(0)),
            (&["/"], "", Some(0)),
            (&["/"], "/x", None),
            (&[""], "/", Some(0)),
            (&["/*", "/x"], "/x", Some(0)),
            (&["/*", "/x"], "/x/y", Some(1)),
            (&["/a", "/a"], "/a", Some(0)),
            (&["/a/***"], "/a", Some(0)),
            (&["/a/b*"], "/a", None),
            (nested, "/op7/a/b/c", Some(0)),
            (nested, "/op7/a/b/c/d", None),
            (nested, "/op7/a/b/c/f", Some(1)),
            (nested, "/op7/a/bc", Some(2)),
            (nested, "/op7/c/d/e", Some(3)),
            (&[], "/", None),
        ] {
            assert_eq!(find(rules, method), wanted, "{rules:?} {method}");
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = "/a".repeat(500_000);
        assert_eq!(find(&[&deep], &deep), Some(0));
        assert_eq!(find(&[&deep], &deep[2..]), None);
    }
}
