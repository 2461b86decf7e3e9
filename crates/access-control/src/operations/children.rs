//! The children of a node, in the order in which they were written.

use std::collections::HashMap;

use super::prefixes::Prefixes;
use super::{MULTI, SINGLE};
use crate::glob::{Glob, Middle};

/// A child: the place among its siblings, and where its node is.
#[derive(Clone, Copy, Debug)]
struct Child {
    order: usize,
    node: usize,
}

/// The children of one node.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// All of them, by their text: a pattern matches a segment that has its very text.
    by_text: HashMap<Box<[u8]>, Child>,
    longest: usize,
    single: Option<Child>,
    multi: Option<Child>,
    globs: Globs,
}

impl Children {
    /// The child of exactly this text.
    pub(super) fn exact(&self, text: &[u8]) -> Option<usize> {
        self.by_text.get(text).map(|child| child.node)
    }

    /// Adds a child after the others. There is none of this text.
    pub(super) fn add(&mut self, text: &[u8], node: usize) {
        let child = Child {
            order: self.by_text.len(),
            node,
        };
        match text {
            SINGLE => self.single = Some(child),
            MULTI => self.multi = Some(child),
            _ => {
                if let Some(glob) = Glob::parse(text) {
                    self.globs.add(glob, child);
                }
            }
        }
        self.longest = self.longest.max(text.len());
        self.by_text.insert(text.into(), child);
    }

    /// The first child that matches a segment.
    pub(super) fn first(&self, segment: &[u8], is_last: bool) -> Option<usize> {
        // A segment that is longer than all texts is not worth hashing.
        let exact = (segment.len() <= self.longest)
            .then(|| self.by_text.get(segment))
            .flatten();
        let single = self.single.as_ref().filter(|_| is_last);
        let fixed = [exact, single, self.multi.as_ref()];
        let first = fixed.into_iter().flatten().min_by_key(|child| child.order);
        let before = first.map_or(usize::MAX, |child| child.order);
        let glob = self.globs.first(segment, before);
        glob.or(first).map(|child| child.node)
    }
}

/// Patterns within a segment. They are found by what they begin and end with, so that a thousand of them cost about
/// as much as one.
#[derive(Debug, Default)]
struct Globs {
    /// By the beginning, then by the end read backwards; those that share both are in order.
    by_ends: Prefixes<Prefixes<Vec<(Middle, Child)>>>,
}

impl Globs {
    fn add(&mut self, glob: Glob<'_>, child: Child) {
        let mut suffix = glob.suffix.to_vec();
        suffix.reverse();
        let by_suffix = self.by_ends.entry(glob.prefix, child.order);
        let same_ends = by_suffix.entry(&suffix, child.order);
        same_ends.push((glob.middle, child));
    }

    /// The first pattern that matches, of those that stand before a place.
    fn first(&self, segment: &[u8], mut before: usize) -> Option<&Child> {
        let mut first = None;
        for begin in self.by_ends.of(segment.iter().copied()) {
            if begin.earliest >= before {
                break;
            }
            let rest = &segment[begin.length..];
            for end in begin.value.of(rest.iter().rev().copied()) {
                if end.earliest >= before {
                    break;
                }
                let rest = &rest[..rest.len() - end.length];
                let mut earlier = end.value.iter().take_while(|(_, child)| child.order < before);
                if let Some((_, child)) = earlier.find(|(middle, _)| middle.matches(rest)) {
                    before = child.order;
                    first = Some(child);
                }
            }
        }
        first
    }
}
