//! A map whose keys are looked for at the beginning of a text.

/// Values by byte strings: one walk along a text meets every key that the text begins with.
///
/// It is a tree of bytes in which what does not branch is one node.
#[derive(Debug)]
pub(super) struct Prefixes<T> {
    /// The first is the root, whose label is empty; nothing has none. A list, because a tree of boxes could be too
    /// deep to be dropped.
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    /// What leads here from the parent.
    label: Box<[u8]>,
    /// The place of the first that was added here or below.
    earliest: usize,
    value: Option<T>,
    /// By the first byte of their labels, in order.
    children: Vec<(u8, usize)>,
}

impl<T> Node<T> {
    fn new(label: &[u8], earliest: usize) -> Self {
        Self {
            label: label.into(),
            earliest,
            value: None,
            children: Vec::new(),
        }
    }

    /// The index of the child whose label begins so, or where it would be.
    fn child(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |(first, _)| *first)
    }
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<T: Default> Prefixes<T> {
    /// The value of a key, a new one if there was none, for what has a place after all that was added before.
    pub(super) fn entry(&mut self, key: &[u8], place: usize) -> &mut T {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(b"", place));
        }
        let mut at = 0;
        let mut rest = key;
        while let Some(first) = rest.first() {
            let child = match self.nodes[at].child(*first) {
                Ok(index) => self.split(at, index, rest),
                Err(index) => {
                    let leaf = self.nodes.len();
                    self.nodes[at].children.insert(index, (*first, leaf));
                    self.nodes.push(Node::new(rest, place));
                    leaf
                }
            };
            rest = &rest[self.nodes[child].label.len()..];
            at = child;
        }
        self.nodes[at].value.get_or_insert_with(T::default)
    }

    /// A child, after it was split where its label and a text part.
    fn split(&mut self, parent: usize, index: usize, text: &[u8]) -> usize {
        let (first, child) = self.nodes[parent].children[index];
        let label = &self.nodes[child].label;
        let common = label.iter().zip(text).take_while(|(a, b)| a == b).count();
        if common == label.len() {
            return child;
        }
        let mut upper = Node::new(&label[..common], self.nodes[child].earliest);
        let lower: Box<[u8]> = label[common..].into();
        upper.children.push((lower[0], child));
        self.nodes[child].label = lower;
        let split = self.nodes.len();
        self.nodes.push(upper);
        self.nodes[parent].children[index] = (first, split);
        split
    }
}

impl<T> Prefixes<T> {
    /// The keys that a text begins with, the shortest first.
    pub(super) fn of(&self, text: impl Iterator<Item = u8>) -> impl Iterator<Item = PrefixMatch<'_, T>> {
        Walk {
            map: self,
            text,
            node: self.nodes.first(),
            length: 0,
        }
    }
}

/// A key that a text begins with.
pub(super) struct PrefixMatch<'a, T> {
    /// The length of the key.
    pub(super) length: usize,
    /// The first place of this key and of all that follow: nothing before it comes any more.
    pub(super) earliest: usize,
    pub(super) value: &'a T,
}

/// A walk along a text.
struct Walk<'a, T, I> {
    map: &'a Prefixes<T>,
    text: I,
    /// The node that was reached and not looked at yet.
    node: Option<&'a Node<T>>,
    /// How much of the text leads to it.
    length: usize,
}

impl<'a, T, I: Iterator<Item = u8>> Walk<'a, T, I> {
    /// The node below, if the text goes on with its label.
    fn below(&mut self, node: &'a Node<T>) -> Option<&'a Node<T>> {
        if node.children.is_empty() {
            return None;
        }
        let first = self.text.next()?;
        let (_, child) = node.children[node.child(first).ok()?];
        let child = &self.map.nodes[child];
        let goes_on = child.label[1..]
            .iter()
            .all(|byte| self.text.next() == Some(*byte));
        self.length += child.label.len();
        goes_on.then_some(child)
    }
}

impl<'a, T, I: Iterator<Item = u8>> Iterator for Walk<'a, T, I> {
    type Item = PrefixMatch<'a, T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let node = self.node?;
            let length = self.length;
            self.node = self.below(node);
            if let Some(value) = &node.value {
                return Some(PrefixMatch {
                    length,
                    earliest: node.earliest,
                    value,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn found<'a>(keys: &'a [String], text: &str) -> Vec<&'a str> {
        let mut map: Prefixes<Option<&'a str>> = Prefixes::default();
        for (place, key) in keys.iter().enumerate() {
            map.entry(key.as_bytes(), place).get_or_insert(key);
        }
        map.of(text.bytes())
            .map(|found| {
                let key = found.value.unwrap_or_default();
                assert_eq!(key.len(), found.length);
                let first = keys.iter().position(|other| other.starts_with(key));
                assert_eq!(Some(found.earliest), first);
                key
            })
            .collect()
    }

    #[test]
    fn keys_at_the_beginning() {
        for (keys, text, wanted) in [
            (&["", "a", "abc", "abd", "b"][..], "abcd", &["", "a", "abc"][..]),
            (&["abc", "ab"], "ab", &["ab"]),
            (&["abc"], "ab", &[]),
            (&["abc", "abd"], "abx", &[]),
            (&[], "a", &[]),
            (&[""], "", &[""]),
        ] {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            assert_eq!(found(&keys, text), wanted, "{keys:?} {text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn as_defined(keys in proptest::collection::vec("[abé]{0,5}", 0..12), text in "[abé]{0,7}") {
            let all: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
            let mut wanted: Vec<&str> = all.into_iter().filter(|key| text.starts_with(key)).collect();
            wanted.sort_by_key(|key| key.len());
            prop_assert_eq!(found(&keys, &text), wanted);
        }
    }
}
