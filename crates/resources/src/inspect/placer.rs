//! From places in what was parsed to places in a file.

use std::ops::Range;

use crate::expand::{Replaced, expand};
use crate::inspect::Place;
use crate::marked::Spot;

/// Where a document stands in its file.
#[derive(Debug)]
pub(super) enum Placer {
    /// Behind as many lines.
    Lines(usize),
    /// At the beginning, with values in place of variables.
    Expanded(Box<Expanded>),
}

impl Placer {
    pub(super) fn place(&self, spot: Spot) -> Place {
        match self {
            Self::Lines(before) => Place {
                line: before + spot.line.max(1),
                column: spot.column.max(1),
            },
            Self::Expanded(expanded) => expanded.place(spot),
        }
    }
}

/// A text with values in place of variables, and what stood where.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) text: String,
    original: String,
    /// In order: where a variable stood, and where its value stands.
    replaced: Vec<(Range<usize>, Range<usize>)>,
}

impl Expanded {
    /// Puts values in place; `unset` is told of variables that have none.
    pub(super) fn of(
        text: &str,
        lookup: impl Fn(&str) -> Option<String>,
        mut unset: impl FnMut(&str, Place),
    ) -> Self {
        let mut replaced = Vec::new();
        let expanded = expand(text, lookup, |variable: Replaced<'_>| {
            if !variable.is_set {
                unset(variable.name, place_of(text, variable.from.start));
            }
            replaced.push((variable.from, variable.to));
        });
        Self {
            text: expanded,
            original: text.to_owned(),
            replaced,
        }
    }

    fn place(&self, spot: Spot) -> Place {
        let offset = offset_of(&self.text, spot);
        let after = self.replaced.partition_point(|(_, to)| to.start <= offset);
        let original = match after.checked_sub(1).map(|index| &self.replaced[index]) {
            None => offset,
            Some((from, to)) if offset < to.end => from.start,
            Some((from, to)) => from.end + (offset - to.end),
        };
        place_of(&self.original, original)
    }
}

fn offset_of(text: &str, spot: Spot) -> usize {
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines
        .by_ref()
        .take(spot.line.saturating_sub(1))
        .map(str::len)
        .sum();
    let line = lines.next().unwrap_or_default();
    let characters = line.char_indices().nth(spot.column.saturating_sub(1));
    before + characters.map_or(line.len(), |(offset, _)| offset)
}

/// The place of a byte.
pub(super) fn place_of(text: &str, offset: usize) -> Place {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_file() {
        let text = "a: $A\nb: ${LONG} # x\nc: [$NONE, d]\n";
        let mut unset = Vec::new();
        let lookup = |name: &str| match name {
            "A" => Some("1\nz: 2".to_owned()),
            "LONG" => Some("value of some length".to_owned()),
            _ => None,
        };
        let expanded = Expanded::of(text, lookup, |name, place| {
            unset.push((name.to_owned(), place.line, place.column));
        });
        assert_eq!(unset, [("NONE".to_owned(), 3, 5)]);
        let at = |line, column| {
            let place = expanded.place(Spot { line, column });
            (place.line, place.column)
        };
        assert_eq!(
            expanded.text,
            "a: 1\nz: 2\nb: value of some length # x\nc: [, d]\n"
        );
        for (spot, wanted) in [
            ((1, 1), (1, 1)),
            ((1, 4), (1, 4)),
            ((2, 1), (1, 4)),
            ((3, 1), (2, 1)),
            ((3, 10), (2, 4)),
            ((3, 25), (2, 12)),
            ((4, 1), (3, 1)),
            ((4, 7), (3, 12)),
            ((99, 99), (4, 1)),
        ] {
            assert_eq!(at(spot.0, spot.1), wanted, "{spot:?}");
        }
    }
}
