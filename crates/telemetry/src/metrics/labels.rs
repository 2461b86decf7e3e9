//! Series by their labels, some of whose values come from outside.
//!
//! What a call finds is an [`Entry`]: the names in its labels, and a series for each status. To find one takes no lock
//! and allocates nothing. The series themselves stand in a table behind a lock, which is taken when a call is the first
//! with its labels. Both are bounded: beyond, calls are counted under labels that say less, and none is lost.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use invoke_core::error::CodeName;

use super::family::{Family, Kind, Sample, Value};
use super::rules::Rules;
use super::text::label;

/// So many sets of names are found without a lock, for each family or group of families that are counted together.
const MAX_NAMES: usize = 4096;
/// So many series there are for each of them.
const MAX_SERIES: usize = 4096;
/// So many series are kept for what came too late, so that its statuses can still be told apart.
const MAX_FOLDED: usize = 256;
/// So many statuses are found without a lock for each set of names.
const MAX_CODES: usize = 64;
const SHARDS: usize = 16;
/// A longer value is cut, as no name or path of this length is read by anybody.
const LONGEST_VALUE: usize = 255;

/// The names in the labels of a call; the second may be of no use.
pub(super) type Names<'a> = [&'a str; 2];

/// No status.
pub(super) const NO_CODE: i32 = i32::MIN;

/// What a label shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// The app of this sidecar.
    App,
    First,
    Second,
    /// The status, as a number.
    Code,
    /// The status, by its name in gRPC.
    CodeName,
    Always(&'static str),
}

/// A family of the series of a table.
pub(super) struct Column<M> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// In the order of their names.
    pub(super) labels: &'static [(&'static str, Part)],
    /// What it shows of a series; `None` for nothing.
    pub(super) value: fn(&M) -> Option<Value>,
}

/// How a table is set up.
pub(super) struct TableSettings<M: 'static> {
    /// The families that its series are shown as.
    pub(super) columns: &'static [Column<M>],
    /// Makes the counters of a new series.
    pub(super) make: Box<dyn Fn() -> M + Send + Sync>,
    /// The names under which calls are counted that come too late, and what there are too many of.
    pub(super) fold: fn(Names<'_>) -> Names<'_>,
    pub(super) what: &'static str,
}

/// The series of families that are counted together.
pub(super) struct Table<M: 'static> {
    app_id: Arc<str>,
    rules: Rules,
    settings: TableSettings<M>,
    hasher: RandomState,
    shards: [ArcSwap<Shard<M>>; SHARDS],
    known: AtomicUsize,
    series: Mutex<HashMap<Key, Arc<M>>>,
    is_full: AtomicBool,
}

type Shard<M> = HashMap<u64, Vec<Arc<Entry<M>>>>;
/// The labels of a series in each family.
type Key = Box<[Arc<str>]>;

/// The names in the labels of calls, and a series for each status that such calls had.
pub(super) struct Entry<M> {
    names: [Box<str>; 2],
    codes: ArcSwap<Vec<(i32, Arc<M>)>>,
}

impl<M> Entry<M> {
    fn new(names: Names<'_>) -> Arc<Self> {
        Arc::new(Self {
            names: names.map(Into::into),
            codes: ArcSwap::default(),
        })
    }

    /// The first of the names.
    pub(super) fn name(&self) -> &str {
        &self.names[0]
    }

    fn has(&self, names: Names<'_>) -> bool {
        *self.names[0] == *names[0] && *self.names[1] == *names[1]
    }
}

impl<M> std::fmt::Debug for Entry<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entry").field(&self.names).finish()
    }
}

impl<M: Send + Sync + 'static> Table<M> {
    pub(super) fn new(app_id: Arc<str>, rules: Rules, settings: TableSettings<M>) -> Self {
        Self {
            app_id,
            rules,
            settings,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| ArcSwap::default()),
            known: AtomicUsize::new(0),
            series: Mutex::default(),
            is_full: AtomicBool::new(false),
        }
    }

    /// The entry of these names.
    pub(super) fn entry(&self, names: Names<'_>) -> Arc<Entry<M>> {
        let hash = self.hasher.hash_one(names);
        let shard = &self.shards[hash as usize % SHARDS];
        if let Some(known) = find(&shard.load(), hash, names) {
            return Arc::clone(known);
        }
        let new = Entry::new(names);
        if self.known.load(Ordering::Relaxed) >= MAX_NAMES {
            return new;
        }
        self.known.fetch_add(1, Ordering::Relaxed);
        shard.rcu(|shard| {
            let mut shard = HashMap::clone(shard);
            // Somebody else may have been faster.
            if find(&shard, hash, names).is_none() {
                shard.entry(hash).or_default().push(Arc::clone(&new));
            }
            shard
        });
        find(&shard.load(), hash, names).cloned().unwrap_or(new)
    }

    /// Counts in the series of an entry with this status.
    pub(super) fn with<T>(&self, entry: &Entry<M>, code: i32, count: impl FnOnce(&M) -> T) -> T {
        let codes = entry.codes.load();
        if let Some((_, series)) = codes.iter().find(|(known, _)| *known == code) {
            return count(series);
        }
        let series = self.series([&entry.names[0], &entry.names[1]], code);
        if codes.len() < MAX_CODES {
            entry.codes.rcu(|codes| {
                let mut codes = Vec::clone(codes);
                if codes.iter().all(|(known, _)| *known != code) {
                    codes.push((code, Arc::clone(&series)));
                }
                codes
            });
        }
        count(&series)
    }

    /// Counts in the series of these names and this status.
    pub(super) fn count<T>(&self, names: Names<'_>, code: i32, count: impl FnOnce(&M) -> T) -> T {
        let hash = self.hasher.hash_one(names);
        if let Some(known) = find(&self.shards[hash as usize % SHARDS].load(), hash, names) {
            return self.with(known, code, count);
        }
        self.with(&self.entry(names), code, count)
    }

    /// The series of these names and this status, which is made if it is not there.
    pub(super) fn series(&self, names: Names<'_>, code: i32) -> Arc<M> {
        let folded = (self.settings.fold)(names);
        let mut table = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for (names, code, limit) in [
            (names, code, MAX_SERIES),
            (folded, code, MAX_SERIES + MAX_FOLDED),
            (folded, NO_CODE, usize::MAX),
        ] {
            let key = self.key(names, code);
            if let Some(series) = table.get(&key) {
                return Arc::clone(series);
            }
            if table.len() < limit {
                let series = Arc::new((self.settings.make)());
                table.insert(key, Arc::clone(&series));
                return series;
            }
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    target: "dapr.runtime.diagnostics",
                    "There are more than {MAX_SERIES} different {} in the metrics: further ones are counted together",
                    self.settings.what
                );
            }
        }
        // Not reached, since the last of the three has no limit.
        Arc::new((self.settings.make)())
    }

    fn key(&self, names: Names<'_>, code: i32) -> Key {
        let mut key: Vec<Arc<str>> = Vec::with_capacity(self.settings.columns.len());
        for column in self.settings.columns {
            let labels = self.labels(column, names, code);
            let is_shared = key.last().is_some_and(|last| **last == *labels);
            let labels = match key.last() {
                Some(last) if is_shared => Arc::clone(last),
                _ => labels.into(),
            };
            key.push(labels);
        }
        key.into()
    }

    fn labels(&self, column: &Column<M>, names: Names<'_>, code: i32) -> String {
        let mut text = String::new();
        for (name, part) in column.labels {
            let mut shown = String::new();
            let value = match part {
                Part::App => &*self.app_id,
                Part::First => names[0],
                Part::Second => names[1],
                Part::Always(value) => value,
                Part::Code | Part::CodeName if code == NO_CODE => "",
                Part::Code => {
                    let _ = write!(shown, "{code}");
                    &shown
                }
                Part::CodeName => {
                    let _ = write!(shown, "{}", CodeName(code));
                    &shown
                }
            };
            let value = self.rules.rewrite(column.name, name, value);
            label(&mut text, name, cut(&value));
        }
        text
    }

    /// The families as they are now.
    pub(super) fn families(&self) -> Vec<Family> {
        let table = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series: Vec<(Key, Arc<M>)> = table
            .iter()
            .map(|(key, series)| (key.clone(), Arc::clone(series)))
            .collect();
        // What is gathered may take a while; calls with new labels do not wait for it.
        drop(table);
        let columns = self.settings.columns.iter().enumerate();
        columns
            .map(|(index, column)| Family {
                name: column.name,
                help: column.help,
                kind: column.kind,
                samples: series
                    .iter()
                    .filter_map(|(key, series)| {
                        let value = (column.value)(series)?;
                        let labels = Arc::clone(key.get(index)?);
                        Some(Sample::new(labels, value))
                    })
                    .collect(),
            })
            .collect()
    }
}

impl<M> std::fmt::Debug for Table<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Table")
    }
}

fn find<'a, M>(shard: &'a Shard<M>, hash: u64, names: Names<'_>) -> Option<&'a Arc<Entry<M>>> {
    shard.get(&hash)?.iter().find(|entry| entry.has(names))
}

/// The value, if it is not too long.
fn cut(value: &str) -> &str {
    let mut end = value.len().min(LONGEST_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Counter, Rule};

    const COLUMNS: &[Column<Counter>] = &[
        Column {
            name: "dapr_calls",
            help: "Calls.",
            kind: Kind::Counter,
            labels: &[
                ("app_id", Part::App),
                ("path", Part::First),
                ("status", Part::Code),
            ],
            value: Counter::value,
        },
        Column {
            name: "dapr_rpcs",
            help: "RPCs.",
            kind: Kind::Counter,
            labels: &[
                ("kind", Part::Always("unary")),
                ("path", Part::First),
                ("status", Part::CodeName),
            ],
            value: Counter::value,
        },
    ];

    fn table(rules: &[(&str, &str, &str, &str)]) -> Table<Counter> {
        let rules = rules.iter().map(|(family, label, pattern, replacement)| Rule {
            family: (*family).to_owned(),
            label: (*label).to_owned(),
            pattern: (*pattern).to_owned(),
            replacement: (*replacement).to_owned(),
        });
        let (rules, errors) = Rules::compile(rules);
        assert!(errors.is_empty(), "{errors:?}");
        let settings = TableSettings {
            columns: COLUMNS,
            make: Box::new(Counter::default),
            fold: |_| ["other", ""],
            what: "paths",
        };
        Table::new("me".into(), rules, settings)
    }

    fn shown(table: &Table<Counter>, family: usize) -> Vec<(String, f64)> {
        let mut samples = table.families().swap_remove(family).samples;
        samples.sort_by(Sample::order);
        let shown = samples.into_iter().map(|sample| match sample.value {
            Value::Number(value) => (sample.labels.to_string(), value),
            Value::Distribution(_) => panic!("a histogram"),
        });
        shown.collect()
    }

    #[test]
    fn each_set_of_labels_is_a_series() {
        let table = table(&[]);
        for (path, code) in [
            ("/a", 5),
            ("/a", 5),
            ("/a", 13),
            ("/b\"", 5),
            ("/a", NO_CODE),
            ("/b\"", 77),
        ] {
            table.count([path, ""], code, Counter::add_one);
        }
        let wanted = |text: &str, value| (text.to_owned(), value);
        assert_eq!(
            shown(&table, 0),
            [
                wanted(r#"app_id="me",path="/a",status="""#, 1.0),
                wanted(r#"app_id="me",path="/a",status="13""#, 1.0),
                wanted(r#"app_id="me",path="/a",status="5""#, 2.0),
                wanted(r#"app_id="me",path="/b\"",status="5""#, 1.0),
                wanted(r#"app_id="me",path="/b\"",status="77""#, 1.0),
            ]
        );
        assert_eq!(
            shown(&table, 1)[1],
            wanted(r#"kind="unary",path="/a",status="Internal""#, 1.0)
        );
    }

    #[test]
    fn rules_are_for_one_label_of_one_family() {
        let table = table(&[("dapr_rpcs", "path", "^/[a-z]+/.*$", "/{x}")]);
        for path in ["/a/1", "/b/2", "/c"] {
            table.count([path, ""], 0, Counter::add_one);
        }
        assert_eq!(shown(&table, 0).len(), 3);
        let text =
            super::super::text::Exposition::of(&crate::metrics::family::merged(table.families())).into_text();
        assert!(
            text.contains("dapr_rpcs{kind=\"unary\",path=\"/{x}\",status=\"OK\"} 2\n"),
            "{text}"
        );
    }

    #[test]
    fn series_are_bounded_and_no_call_is_lost() {
        let table = table(&[]);
        for number in 0..MAX_SERIES + 1000 {
            table.count([&format!("/{number}"), ""], 200, Counter::add_one);
        }
        for code in 0..2000 {
            table.count(["/late", ""], code, Counter::add_one);
        }
        let shown = shown(&table, 0);
        assert_eq!(shown.len(), MAX_SERIES + MAX_FOLDED + 1);
        let sum: f64 = shown.iter().map(|(_, count)| count).sum();
        assert!((sum - (MAX_SERIES + 3000) as f64).abs() < f64::EPSILON);
        let others = shown
            .iter()
            .find(|(labels, _)| labels.ends_with("path=\"other\",status=\"200\""));
        assert!((others.unwrap().1 - 1001.0).abs() < f64::EPSILON);
        assert!(
            shown
                .iter()
                .any(|(labels, _)| labels.ends_with("path=\"other\",status=\"\""))
        );
    }

    #[test]
    fn long_values_are_cut() {
        let table = table(&[]);
        table.count([&"ü".repeat(40_000), ""], 1, Counter::add_one);
        assert!(shown(&table, 0)[0].0.len() < 400);
    }
}
