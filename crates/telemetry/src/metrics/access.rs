//! Decisions of access control, counted by caller.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::text::label;
use super::{Family, Kind, Sample};

/// So many callers have numbers of their own. Who a caller is, is proven; how many there are, is not bounded by that.
const MAX_CALLERS: usize = 1024;
/// The caller in whose name all further ones are counted.
const OTHERS: &str = "other";

/// What is counted, in the order of [`Decided::index`].
const FAMILIES: [(&str, &str); 4] = [
    (
        "dapr_runtime_acl_app_policy_action_allowed_total",
        "The number of requests allowed by the app specific action specified in the access control policy.",
    ),
    (
        "dapr_runtime_acl_app_policy_action_blocked_total",
        "The number of requests blocked by the app specific action specified in the access control policy.",
    ),
    (
        "dapr_runtime_acl_global_policy_action_allowed_total",
        "The number of requests allowed by the global action specified in the access control policy.",
    ),
    (
        "dapr_runtime_acl_global_policy_action_blocked_total",
        "The number of requests blocked by the global action specified in the access control policy.",
    ),
];

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Whether it was taken by the policy for the calling app, not by the default for all.
    pub by_app_policy: bool,
    /// Whether the call may go on.
    pub is_allowed: bool,
}

impl Decided {
    fn index(self) -> usize {
        usize::from(!self.by_app_policy) * 2 + usize::from(!self.is_allowed)
    }
}

/// The counters. Cloning shares them. Counting takes no lock.
#[derive(Clone, Debug, Default)]
pub struct AccessCounters(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    nobody: Counts,
    /// By the hash of the names of a caller.
    callers: ArcSwap<HashMap<u64, Vec<Arc<Caller>>>>,
    others: Counts,
    hasher: RandomState,
}

type Counts = [AtomicU64; 4];

#[derive(Debug)]
struct Caller {
    app_id: Box<str>,
    namespace: Box<str>,
    trust_domain: Box<str>,
    counts: Counts,
}

impl Caller {
    fn is(&self, [app_id, namespace, trust_domain]: [&str; 3]) -> bool {
        *self.app_id == *app_id && *self.namespace == *namespace && *self.trust_domain == *trust_domain
    }
}

impl AccessCounters {
    /// Counts a decision about a caller: app id, namespace and trust domain, or `None` for one that proved nothing.
    pub fn count(&self, caller: Option<[&str; 3]>, decided: Decided) {
        let add = |counts: &Counts| counts[decided.index()].fetch_add(1, Ordering::Relaxed);
        let Some(names) = caller else {
            add(&self.0.nobody);
            return;
        };
        let hash = self.0.hasher.hash_one(names);
        if let Some(known) = find(&self.0.callers.load(), hash, names) {
            add(&known.counts);
            return;
        }
        match self.enter(hash, names) {
            Some(entered) => add(&entered.counts),
            None => add(&self.0.others),
        };
    }

    /// Makes room for a caller, if there is any left.
    fn enter(&self, hash: u64, names: [&str; 3]) -> Option<Arc<Caller>> {
        let [app_id, namespace, trust_domain] = names.map(Into::into);
        let new = Arc::new(Caller {
            app_id,
            namespace,
            trust_domain,
            counts: Counts::default(),
        });
        self.0.callers.rcu(|callers| {
            let mut callers = HashMap::clone(callers);
            // Somebody else may have been faster.
            if callers.len() < MAX_CALLERS && find(&callers, hash, names).is_none() {
                callers.entry(hash).or_default().push(Arc::clone(&new));
            }
            callers
        });
        find(&self.0.callers.load(), hash, names).cloned()
    }

    /// The families as they are now.
    pub fn families(&self) -> Vec<Family> {
        let callers = self.0.callers.load();
        let mut named: Vec<([&str; 3], &Counts)> = vec![(["", "", ""], &self.0.nobody)];
        named.extend(callers.values().flatten().map(|caller| {
            (
                [&*caller.app_id, &*caller.namespace, &*caller.trust_domain],
                &caller.counts,
            )
        }));
        named.sort_unstable_by_key(|(names, _)| *names);
        named.push(([OTHERS, OTHERS, OTHERS], &self.0.others));
        let families = FAMILIES.iter().enumerate();
        families
            .map(|(index, (name, help))| Family {
                name,
                help,
                kind: Kind::Counter,
                samples: named
                    .iter()
                    .map(|(names, counts)| (names, counts[index].load(Ordering::Relaxed)))
                    .filter(|(_, count)| *count > 0)
                    .map(|(names, count)| Sample::number(labels(*names), count as f64))
                    .collect(),
            })
            .collect()
    }
}

fn find<'a>(
    callers: &'a HashMap<u64, Vec<Arc<Caller>>>,
    hash: u64,
    names: [&str; 3],
) -> Option<&'a Arc<Caller>> {
    callers.get(&hash)?.iter().find(|caller| caller.is(names))
}

fn labels([app_id, namespace, trust_domain]: [&str; 3]) -> String {
    let mut text = String::new();
    label(&mut text, "app_id", app_id);
    label(&mut text, "namespace", namespace);
    label(&mut text, "trustDomain", trust_domain);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Decided = Decided {
        by_app_policy: true,
        is_allowed: true,
    };

    #[test]
    fn decisions_by_caller() {
        let counters = AccessCounters::default();
        for by_app_policy in [true, false] {
            for is_allowed in [true, false] {
                let decided = Decided {
                    by_app_policy,
                    is_allowed,
                };
                counters.count(Some(["c", "default", "public"]), decided);
            }
        }
        counters.count(Some(["c", "default", "public"]), ALLOWED);
        counters.count(Some(["b", "x\"", "public"]), ALLOWED);
        let by_nobody = Decided {
            by_app_policy: false,
            is_allowed: true,
        };
        counters.count(None, by_nobody);
        let families = counters.families();
        let c = "app_id=\"c\",namespace=\"default\",trustDomain=\"public\"".to_owned();
        let b = "app_id=\"b\",namespace=\"x\\\"\",trustDomain=\"public\"".to_owned();
        let nobody = "app_id=\"\",namespace=\"\",trustDomain=\"\"".to_owned();
        let samples: Vec<_> = families.into_iter().map(|family| family.samples).collect();
        let number = |labels: &String, value| Sample::number(labels.as_str(), value);
        assert_eq!(
            samples,
            [
                vec![number(&b, 1.0), number(&c, 2.0)],
                vec![number(&c, 1.0)],
                vec![number(&nobody, 1.0), number(&c, 1.0)],
                vec![number(&c, 1.0)],
            ]
        );
    }

    #[test]
    fn callers_are_bounded_and_none_is_lost() {
        let counters = AccessCounters::default();
        for number in 0..MAX_CALLERS + 10 {
            counters.count(Some([&number.to_string(), "n", "t"]), ALLOWED);
        }
        let families = counters.families();
        let samples = &families[0].samples;
        assert_eq!(samples.len(), MAX_CALLERS + 1);
        assert_eq!(samples[MAX_CALLERS], Sample::number(labels([OTHERS; 3]), 10.0));
    }
}
