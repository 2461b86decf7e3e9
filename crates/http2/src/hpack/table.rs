//! The two tables of HPACK (RFC 7541, 2.3): the static one and a connection's dynamic one.

use std::collections::VecDeque;

use super::Pseudo;

/// How many entries the static table has (RFC 7541, appendix A). The dynamic ones are numbered on from there.
pub(super) const STATIC_ENTRIES: usize = 61;

/// The start of the static table. The regular fields behind it are in [`super::names`].
pub(super) static PSEUDO_FIELDS: [(Pseudo, &str); 14] = [
    (Pseudo::Authority, ""),
    (Pseudo::Method, "GET"),
    (Pseudo::Method, "POST"),
    (Pseudo::Path, "/"),
    (Pseudo::Path, "/index.html"),
    (Pseudo::Scheme, "http"),
    (Pseudo::Scheme, "https"),
    (Pseudo::Status, "200"),
    (Pseudo::Status, "204"),
    (Pseudo::Status, "206"),
    (Pseudo::Status, "304"),
    (Pseudo::Status, "400"),
    (Pseudo::Status, "404"),
    (Pseudo::Status, "500"),
];

/// The index of the first entry for a regular field.
pub(super) const FIRST_FIELD: usize = PSEUDO_FIELDS.len() + 1;

/// The one static entry of a regular field that has a value (`accept-encoding`).
pub(super) const WITH_VALUE: usize = 16;

/// The value of the entry [`WITH_VALUE`].
pub(super) const ITS_VALUE: &str = "gzip, deflate";

/// A dynamic table: the newest entries that fit its size (RFC 7541, 2.3.2 and 4).
pub(super) struct Dynamic<E> {
    entries: VecDeque<(usize, E)>,
    size: usize,
    max_size: usize,
}

impl<E> Dynamic<E> {
    pub(super) fn new(max_size: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The entry that `age` others were inserted after.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<&E> {
        let place = self.entries.len().checked_sub(age + 1)?;
        self.entries.get(place).map(|(_, entry)| entry)
    }

    pub(super) fn resize(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(max_size);
    }

    /// Adds an entry of the given size, 32 included. One that is larger than the table only empties it, which
    /// is no error (RFC 7541, 4.4).
    pub(super) fn insert(&mut self, size: usize, entry: E) {
        let Some(room) = self.max_size.checked_sub(size) else {
            return self.evict(0);
        };
        self.evict(room);
        self.size += size;
        self.entries.push_back((size, entry));
    }

    fn evict(&mut self, down_to: usize) {
        while self.size > down_to
            && let Some((size, _)) = self.entries.pop_front()
        {
            self.size -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_fit_remain() {
        let mut table = Dynamic::new(100);
        for (size, entry, left, total) in [
            (40, 'a', "a", 40),
            (60, 'b', "ba", 100),
            (33, 'c', "cb", 93),
            (34, 'd', "dc", 67),
            (101, 'e', "", 0),
            (100, 'f', "f", 100),
        ] {
            table.insert(size, entry);
            let ages = 0..table.len();
            assert_eq!(ages.filter_map(|age| table.get(age)).collect::<String>(), left);
            assert_eq!(table.size(), total);
            assert_eq!(table.get(table.len()), None);
        }
        table.resize(99);
        assert_eq!((table.len(), table.size()), (0, 0));
    }
}
