//! The children of a node, in the order in which they were written.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::{MULTI, SINGLE};
use crate::glob::Glob;

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
    patterns: Vec<(Glob, Child)>,
    /// The lengths of beginning and end that occur.
    shapes: Vec<(usize, usize)>,
    /// Patterns by the hash of beginning and end, in order. Two that share a hash do no harm: all are tried.
    by_ends: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
}

impl Globs {
    fn add(&mut self, glob: Glob, child: Child) {
        let (prefix, suffix) = (glob.prefix(), glob.suffix());
        let shape = (prefix.len(), suffix.len());
        let hash = self.hasher.hash_one((prefix, suffix));
        if !self.shapes.contains(&shape) {
            self.shapes.push(shape);
        }
        self.by_ends.entry(hash).or_default().push(self.patterns.len());
        self.patterns.push((glob, child));
    }

    /// The first pattern that matches, of those that stand before a place.
    fn first(&self, segment: &[u8], before: usize) -> Option<&Child> {
        let mut found: Option<&Child> = None;
        for (begin, end) in &self.shapes {
            if begin + end > segment.len() {
                continue;
            }
            let ends = (&segment[..*begin], &segment[segment.len() - end..]);
            let Some(candidates) = self.by_ends.get(&self.hasher.hash_one(ends)) else {
                continue;
            };
            let before = found.map_or(before, |child| child.order);
            let candidates = candidates.iter().map(|index| &self.patterns[*index]);
            let mut earlier = candidates.take_while(|(_, child)| child.order < before);
            if let Some((_, child)) = earlier.find(|(glob, _)| glob.matches(segment)) {
                found = Some(child);
            }
        }
        found
    }
}
