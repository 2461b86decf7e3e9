//! Apps that are called and their instances: families that Dapr does not have.
//!
//! What is read here comes and goes with apps and instances, while a series that is a counter must not fall as long as it
//! is there. So whoever shows them keeps what was read last, and adds to a series what has come since
//! ([`Rising`]): what leaves takes nothing away.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use invoke_core::balance::{EjectionCounts, EndpointState, Endpoints};
use invoke_core::id::AppRef;
use invoke_core::targets::{Copied, Peer};

use super::family::{Family, Kind};
use super::own::Making;

/// So many instances have series of their own; the others are counted together.
const MOST_ENDPOINTS: usize = 256;
/// What stands for them.
const OTHER: &str = "other";

/// Why an instance was left out: it could not be reached, or calls to it were given up without an answer.
const UNREACHABLE: &str = "unreachable";
const STALLED: &str = "stalled";

/// Counters that are read from parts which come and go.
#[derive(Debug)]
struct Rising<P, S> {
    /// What was read of each part last, and the series that it counts for.
    parts: HashMap<P, (u64, S)>,
    series: HashMap<S, Series>,
    /// When the parts were read last; at first, when nothing was counted yet.
    looked: SystemTime,
}

#[derive(Clone, Copy, Debug)]
struct Series {
    value: u64,
    began: SystemTime,
}

impl<P: Hash + Eq, S: Hash + Eq + Clone> Rising<P, S> {
    fn new() -> Self {
        Self {
            parts: HashMap::new(),
            series: HashMap::new(),
            looked: SystemTime::now(),
        }
    }

    /// Takes in what parts show now; `series` says what a new part counts for. A part keeps its series for as long as it
    /// is there, a series is there as long as it `is_kept`.
    fn read(
        &mut self,
        now: impl IntoIterator<Item = (P, u64)>,
        mut series: impl FnMut(&P) -> S,
        mut is_kept: impl FnMut(&S) -> bool,
    ) {
        let looked = SystemTime::now();
        let mut parts = HashMap::new();
        for (part, value) in now {
            let (before, name) = self.parts.remove(&part).unwrap_or_else(|| (0, series(&part)));
            // One that shows less is another one of the same name: all of its count is new.
            let more = value.checked_sub(before).unwrap_or(value);
            let known = self.series.entry(name.clone()).or_insert(Series {
                value: 0,
                began: self.looked,
            });
            known.value += more;
            parts.insert(part, (value, name));
        }
        self.parts = parts;
        self.series.retain(|name, _| is_kept(name));
        self.looked = looked;
    }

    fn of(&self, part: &P) -> Option<&S> {
        self.parts.get(part).map(|(_, series)| series)
    }
}

/// An instance of an app: the app, and its address.
type Instance = (AppRef, Arc<str>);
/// An app, and why its instances were left out.
type Left = (AppRef, &'static str);
/// The labels `target` and `reason`.
type Reasoned = (Arc<str>, &'static str);
/// The labels `target` and `endpoint`.
type Shown = (Arc<str>, Arc<str>);

/// Shows the apps that are called. It must be asked for all of them each time.
#[derive(Debug)]
pub struct PeerMetrics {
    app_id: Box<str>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    ejections: Rising<Left, Reasoned>,
    copies: Rising<(AppRef, usize), (Arc<str>, &'static str)>,
    picks: Rising<Instance, Shown>,
}

/// An app as it is at the moment.
struct Now {
    app: AppRef,
    ejections: EjectionCounts,
    /// By [`Copied::ALL`].
    copies: [u64; Copied::ALL.len()],
    states: Vec<EndpointState>,
}

impl PeerMetrics {
    /// For the sidecar of an app, before it calls anybody.
    pub fn new(app_id: &str) -> Self {
        Self {
            app_id: app_id.into(),
            counted: Mutex::new(Counted {
                ejections: Rising::new(),
                copies: Rising::new(),
                picks: Rising::new(),
            }),
        }
    }

    /// The apps that are called, and their instances if each of them is to have series of its own.
    pub fn families(&self, peers: &[Arc<Peer>], with_endpoints: bool) -> Vec<Family> {
        let now = peers.iter().map(|peer| Now {
            app: peer.app().clone(),
            ejections: peer.ejections(),
            copies: Copied::ALL.map(|what| peer.copies().count(what)),
            states: peer.endpoints().iter().flat_map(Endpoints::states).collect(),
        });
        self.shown(now.collect(), with_endpoints)
    }

    fn shown(&self, mut apps: Vec<Now>, with_endpoints: bool) -> Vec<Family> {
        // Peers are kept in a map, and resolvers tell instances in any order.
        apps.sort_by(|a, b| order(&a.app, &b.app));
        for app in &mut apps {
            app.states.sort_by(|a, b| a.address.cmp(&b.address));
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families = self.of_apps(&apps, &mut counted.ejections);
        families.push(self.of_copies(&apps, &mut counted.copies));
        if with_endpoints {
            families.extend(self.of_instances(&apps, &mut counted.picks));
        }
        families
    }

    fn of_apps(&self, apps: &[Now], ejections: &mut Rising<Left, Reasoned>) -> Vec<Family> {
        let family = |name, help, kind| Making::new(&self.app_id, name, help, kind);
        let mut known = family(
            "daprd_endpoints",
            "The number of instances of an app that are known.",
            Kind::Gauge,
        );
        let mut out = family(
            "daprd_endpoints_ejected",
            "The number of those that are left out at the moment because they could not be reached or stood still.",
            Kind::Gauge,
        );
        let mut in_flight = family(
            "daprd_calls_in_flight",
            "The number of calls to an app whose answer has not ended.",
            Kind::Gauge,
        );
        let mut ejected = family(
            "daprd_endpoint_ejections_total",
            "How often an instance of an app was left out because it could not be reached or stood still.",
            Kind::Counter,
        );
        // What has the same labels, as apps of the same name in two namespaces, is added up by whoever shows it.
        for Now { app, states, .. } in apps {
            let labels = [("target", app.id.as_str())];
            known.put(&labels, states.len() as u64);
            out.put(&labels, states.iter().filter(|state| state.is_out).count() as u64);
            in_flight.put(&labels, states.iter().map(|state| state.in_flight as u64).sum());
        }
        ejections.read(
            apps.iter().flat_map(|now| {
                let EjectionCounts { unreachable, stalled } = now.ejections;
                [(UNREACHABLE, unreachable), (STALLED, stalled)]
                    .map(|(reason, count)| ((now.app.clone(), reason), count))
            }),
            |(app, reason)| (app.id.as_str().into(), *reason),
            |(target, _)| is_called(apps, target),
        );
        for ((target, reason), Series { value, began }) in &ejections.series {
            let labels = [("reason", *reason), ("target", target)];
            ejected.put_since(Some(*began), &labels, *value);
        }
        [known, out, in_flight, ejected]
            .map(|making| making.family)
            .into()
    }

    /// Apps that get no copies have no series.
    fn of_copies(
        &self,
        apps: &[Now],
        copies: &mut Rising<(AppRef, usize), (Arc<str>, &'static str)>,
    ) -> Family {
        let mut copied = Making::new(
            &self.app_id,
            "daprd_mirrored_calls_total",
            "The number of calls that were to be copied to an app, by what became of the copy.",
            Kind::Counter,
        );
        let results = apps.iter().flat_map(|now| {
            let counts = now.copies.iter().enumerate().filter(|(_, count)| **count > 0);
            counts.map(|(what, count)| ((now.app.clone(), what), *count))
        });
        copies.read(
            results,
            |(app, what)| (app.id.as_str().into(), result(Copied::ALL[*what])),
            |(target, _)| is_called(apps, target),
        );
        for ((target, result), Series { value, began }) in &copies.series {
            copied.put_since(Some(*began), &[("result", result), ("target", target)], *value);
        }
        copied.family
    }

    fn of_instances(&self, apps: &[Now], picks: &mut Rising<Instance, Shown>) -> [Family; 3] {
        let family = |name, help, kind| Making::new(&self.app_id, name, help, kind);
        let mut picked = family(
            "daprd_endpoint_picks_total",
            "How often an instance of an app was picked.",
            Kind::Counter,
        );
        let mut in_flight = family(
            "daprd_endpoint_calls_in_flight",
            "The number of calls to an instance of an app whose answer has not ended.",
            Kind::Gauge,
        );
        let mut out = family(
            "daprd_endpoint_ejected",
            "Whether an instance of an app is left out because it could not be reached.",
            Kind::Gauge,
        );
        let instances = || {
            let of = |now: &'_ Now, state: &EndpointState| (now.app.clone(), Arc::clone(&state.address));
            let all = apps
                .iter()
                .flat_map(|now| now.states.iter().map(move |state| (now, state)));
            all.map(move |(now, state)| (of(now, state), state))
        };
        // An instance that had no place of its own at first goes on without: moved, it would be missing elsewhere.
        let kept = |instance: &Instance| picks.of(instance).filter(|(_, endpoint)| **endpoint != *OTHER);
        let mut named = instances()
            .filter(|(instance, _)| kept(instance).is_some())
            .count();
        let alive: HashSet<(&str, &str)> = apps
            .iter()
            .flat_map(|now| {
                now.states
                    .iter()
                    .map(|state| (now.app.id.as_str(), &*state.address))
            })
            .collect();
        picks.read(
            instances().map(|(instance, state)| (instance, state.picks)),
            |(app, address)| {
                let target = app.id.as_str().into();
                if named == MOST_ENDPOINTS {
                    return (target, OTHER.into());
                }
                named += 1;
                (target, Arc::clone(address))
            },
            |(target, endpoint)| match &**endpoint {
                OTHER => is_called(apps, target),
                endpoint => alive.contains(&(&**target, endpoint)),
            },
        );
        for (instance, state) in instances() {
            if let Some((target, endpoint)) = picks.of(&instance) {
                let labels = [("endpoint", &**endpoint), ("target", &**target)];
                in_flight.put(&labels, state.in_flight as u64);
                out.put(&labels, u64::from(state.is_out));
            }
        }
        for ((target, endpoint), Series { value, began }) in &picks.series {
            picked.put_since(
                Some(*began),
                &[("endpoint", endpoint), ("target", target)],
                *value,
            );
        }
        [picked, in_flight, out].map(|making| making.family)
    }
}

fn result(what: Copied) -> &'static str {
    match what {
        Copied::Answered => "answered",
        Copied::Failed => "failed",
        Copied::Busy => "busy",
        Copied::Unfit => "unfit",
    }
}

fn order(a: &AppRef, b: &AppRef) -> Ordering {
    let by_id = a.id.as_str().cmp(b.id.as_str());
    by_id.then_with(|| a.namespace.as_str().cmp(b.namespace.as_str()))
}

/// Whether somebody calls an app of this name. The apps are in the order of their names.
fn is_called(apps: &[Now], target: &str) -> bool {
    apps.binary_search_by(|now| now.app.id.as_str().cmp(target))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn state(address: impl Into<Arc<str>>, picks: u64) -> EndpointState {
        EndpointState {
            address: address.into(),
            in_flight: 1,
            picks,
            is_out: false,
        }
    }

    /// Left out so often since it could not be reached, and once since it stood still.
    fn app(id: &str, namespace: &str, unreachable: u64, states: Vec<EndpointState>) -> Now {
        Now {
            app: AppRef::new(id, namespace),
            ejections: EjectionCounts {
                unreachable,
                stalled: 1,
            },
            copies: [0; Copied::ALL.len()],
            states,
        }
    }

    /// The lines of a family, without what all of them begin with.
    fn lines(metrics: &PeerMetrics, apps: Vec<Now>, family: &str) -> Vec<String> {
        let families = metrics.shown(apps, true);
        let registry = Metrics::default();
        registry.register(Box::new(move || families.clone()));
        let text = registry.expose();
        let begin = format!("{family}{{app_id=\"me\",");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&*begin));
        lines.map(str::to_owned).collect()
    }

    const PICKS: &str = "daprd_endpoint_picks_total";

    #[test]
    fn what_an_instance_had_before_it_came_again_is_not_lost() {
        let metrics = PeerMetrics::new("me");
        let mut shown = Vec::new();
        for picks in [Some(5), Some(7), Some(3), Some(4), None, Some(2)] {
            let states = picks.map(|picks| state("i:1", picks)).into_iter().collect();
            shown.push(lines(&metrics, vec![app("a", "n", 0, states)], PICKS));
        }
        let line = |count| vec![format!("endpoint=\"i:1\",target=\"a\"}} {count}")];
        // It is new once it was gone and somebody saw that.
        assert_eq!(shown, [line(5), line(7), line(10), line(11), vec![], line(2)]);
    }

    #[test]
    fn what_is_counted_together_never_falls_and_stays_together() {
        let metrics = PeerMetrics::new("me");
        let all = |from: usize, picks: u64| -> Vec<EndpointState> {
            let places = (from..MOST_ENDPOINTS + 2).rev();
            places
                .map(|place| state(format!("i:{place:03}"), picks))
                .collect()
        };
        let other = |shown: &[String]| -> Vec<String> {
            let other = shown.iter().filter(|line| line.contains("\"other\""));
            other.cloned().collect()
        };
        let shown = lines(&metrics, vec![app("a", "n", 0, all(0, 1))], PICKS);
        assert_eq!(shown.len(), MOST_ENDPOINTS + 1);
        assert_eq!(other(&shown), ["endpoint=\"other\",target=\"a\"} 2"]);
        // A named one leaves: those that were counted together are not moved to its place.
        let shown = lines(&metrics, vec![app("a", "n", 0, all(1, 2))], PICKS);
        assert_eq!(shown.len(), MOST_ENDPOINTS);
        assert_eq!(other(&shown), ["endpoint=\"other\",target=\"a\"} 4"]);
        // A new one has that place, and the others are as they were.
        let mut states = all(2, 2);
        states.insert(0, state("a:1", 9));
        let shown = lines(&metrics, vec![app("a", "n", 0, states)], PICKS);
        assert!(shown.contains(&"endpoint=\"a:1\",target=\"a\"} 9".to_owned()));
        assert_eq!(other(&shown), ["endpoint=\"other\",target=\"a\"} 4"]);
        // All of them leave.
        let shown = lines(&metrics, vec![app("a", "n", 0, all(0, 2)[2..].to_vec())], PICKS);
        assert_eq!(other(&shown), ["endpoint=\"other\",target=\"a\"} 4"]);
    }

    #[test]
    fn apps_of_one_name_are_one_and_what_one_of_them_had_stays() {
        let metrics = PeerMetrics::new("me");
        let ejections = |apps| lines(&metrics, apps, "daprd_endpoint_ejections_total");
        let two = || app("b", "m", 2, vec![state("i:1", 0)]);
        let stalled = "reason=\"stalled\",target=\"b\"} 2";
        let unreachable = "reason=\"unreachable\",target=\"b\"} 5";
        let shown = ejections(vec![two(), app("a", "n", 1, vec![]), app("b", "n", 3, vec![])]);
        let of_a = [
            "reason=\"stalled\",target=\"a\"} 1",
            "reason=\"unreachable\",target=\"a\"} 1",
        ];
        assert_eq!(shown, [of_a[0], stalled, of_a[1], unreachable]);
        assert_eq!(ejections(vec![two()]), [stalled, unreachable]);
        assert_eq!(ejections(vec![app("b", "m", 0, vec![])]), [stalled, unreachable]);
        assert!(ejections(vec![]).is_empty());
    }

    #[test]
    fn copies_are_counted_by_what_became_of_them() {
        let metrics = PeerMetrics::new("me");
        let of = |namespace, copies| Now {
            copies,
            ..app("next", namespace, 0, vec![])
        };
        let copies = |apps| {
            let mut lines = lines(&metrics, apps, "daprd_mirrored_calls_total");
            lines.sort();
            lines
        };
        let shown = copies(vec![
            of("n", [3, 0, 0, 2]),
            of("m", [1, 4, 0, 0]),
            app("a", "n", 0, vec![]),
        ]);
        let wanted = ["answered", "failed", "unfit"].into_iter().zip([4, 4, 2]);
        let wanted: Vec<_> = wanted
            .map(|(result, count)| format!("result=\"{result}\",target=\"next\"}} {count}"))
            .collect();
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_series_says_since_when_it_counts() {
        let metrics = PeerMetrics::new("me");
        let began = |apps| {
            let families = metrics.shown(apps, true);
            let picks = families.into_iter().find(|family| family.name == PICKS);
            picks.unwrap().samples.first().and_then(|sample| sample.began)
        };
        let of = |picks| vec![app("a", "n", 0, vec![state("i:1", picks)])];
        let first = began(of(1));
        assert!(first.is_some());
        assert_eq!(began(of(2)), first);
        assert_eq!(began(vec![]), None);
        assert!(began(of(1)) > first);
    }
}
