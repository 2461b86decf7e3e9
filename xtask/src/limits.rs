//! The page of limits: each row has a test that reaches its bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::run::root;

const PAGE: &str = "docs/src/limits.md";
/// What a row is called, a file, and a test in it, with tabs in between. A row may have several.
const TABLE: &str = "tests/limits.tsv";

/// Looks for rows without a test, and for tests that are not there.
pub(crate) fn check(findings: &mut Vec<String>) {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap_or_default();
    compare(&read(PAGE), &read(TABLE), read, findings);
}

fn compare(page: &str, table: &str, read: impl Fn(&str) -> String, findings: &mut Vec<String>) {
    let mut tested = BTreeSet::new();
    let mut sources = BTreeMap::new();
    for line in table.lines() {
        let [row, file, test] = line.split('\t').collect::<Vec<_>>()[..] else {
            findings.push(format!("{TABLE}: {line:?} is no row, file and test"));
            continue;
        };
        tested.insert(row);
        let source = sources.entry(file).or_insert_with(|| read(file));
        if !source.contains(&format!("fn {test}(")) {
            findings.push(format!("{TABLE}: there is no test {test} in {file}"));
        }
    }
    let rows: BTreeSet<&str> = rows(page).collect();
    for row in rows.difference(&tested) {
        findings.push(format!("{PAGE}: no test in {TABLE} reaches {row:?}"));
    }
    for row in tested.difference(&rows) {
        findings.push(format!("{TABLE}: {PAGE} has no row {row:?}"));
    }
}

/// The first cells of the rows, without the heads of the tables.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    let cells = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.filter(|cell| *cell != "What")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let page = "# Limits\n\n| What | Bound |\n|---|---|\n| Calls | 7 |\n| Names | 8 |\n";
        for (table, wanted) in [
            ("Calls\ta.rs\tone\nNames\ta.rs\ttwo\nNames\ta.rs\tone", &[][..]),
            (
                "Calls\ta.rs\tone",
                &["docs/src/limits.md: no test in tests/limits.tsv reaches \"Names\""],
            ),
            (
                "Calls\ta.rs\tthree\nNames\ta.rs\ttwo\nOthers\ta.rs\tone\nCalls",
                &[
                    "tests/limits.tsv: there is no test three in a.rs",
                    "tests/limits.tsv: \"Calls\" is no row, file and test",
                    "tests/limits.tsv: docs/src/limits.md has no row \"Others\"",
                ],
            ),
        ] {
            let mut findings = Vec::new();
            let read = |_: &str| "#[test]\nfn one() {}\nasync fn two() {}\n".to_owned();
            compare(page, table, read, &mut findings);
            assert_eq!(findings, wanted, "{table}");
        }
    }
}
