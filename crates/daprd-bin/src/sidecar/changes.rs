//! What changed from one reading to the next.

use std::collections::HashMap;
use std::sync::Arc;

use resources::{Component, HttpEndpoint, Inert, Resiliency, Resource};

/// A resource that is known again by its name.
pub(super) trait Named: PartialEq {
    const KIND: &'static str;

    fn name(&self) -> &str;

    /// How the log names it.
    fn log_name(&self) -> String {
        self.name().to_owned()
    }
}

impl Named for Component {
    const KIND: &'static str = <Self as Resource>::KIND;

    fn name(&self) -> &str {
        &self.head.name
    }

    fn log_name(&self) -> String {
        Resource::log_name(self)
    }
}

impl Named for HttpEndpoint {
    const KIND: &'static str = <Self as Resource>::KIND;

    fn name(&self) -> &str {
        &self.head.name
    }

    fn log_name(&self) -> String {
        Resource::log_name(self)
    }
}

impl Named for Resiliency {
    const KIND: &'static str = Self::KIND;

    fn name(&self) -> &str {
        &self.head.name
    }
}

impl<R: Named> Named for Arc<R> {
    const KIND: &'static str = R::KIND;

    fn name(&self) -> &str {
        R::name(self)
    }

    fn log_name(&self) -> String {
        R::log_name(self)
    }
}

impl Named for Inert {
    const KIND: &'static str = "Configuration";

    fn name(&self) -> &str {
        &self.name
    }
}

/// What became of a resource, as Dapr's events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    Deleted,
    Updated,
    Created,
}

impl Became {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deleted => "DELETED",
            Self::Updated => "UPDATED",
            Self::Created => "CREATED",
        }
    }
}

/// What changed: first what is gone, then what is different, then what is new, as Dapr tells it. Of several of one name
/// the last counts.
pub(super) fn changes<'a, R: Named>(before: &'a [R], after: &'a [R]) -> Vec<(Became, &'a R)> {
    let by_name = |resources: &'a [R]| -> HashMap<&'a str, &'a R> {
        resources
            .iter()
            .map(|resource| (resource.name(), resource))
            .collect()
    };
    let (known, now) = (by_name(before), by_name(after));
    let is_last = |resource: &R| {
        now.get(resource.name())
            .is_some_and(|last| std::ptr::eq(*last, resource))
    };
    let gone = before
        .iter()
        .filter(|resource| !now.contains_key(resource.name()));
    let mut changes: Vec<_> = gone.map(|resource| (Became::Deleted, resource)).collect();
    let others = || after.iter().filter(|resource| is_last(resource));
    changes.extend(others().filter_map(|resource| {
        let is_updated = known.get(resource.name()).is_some_and(|known| *known != resource);
        is_updated.then_some((Became::Updated, resource))
    }));
    let new = others().filter(|resource| !known.contains_key(resource.name()));
    changes.extend(new.map(|resource| (Became::Created, resource)));
    changes
}

#[cfg(test)]
mod tests {
    use super::super::components::sample;
    use super::*;

    #[test]
    fn gone_then_different_then_new() {
        for (before, after, wanted) in [
            (vec![], vec![], vec![]),
            (vec![("a", "x")], vec![("a", "x")], vec![]),
            (vec![("a", "x"), ("b", "x")], vec![("b", "x"), ("a", "x")], vec![]),
            (
                vec![("a", "x"), ("b", "x"), ("c", "x")],
                vec![("d", "y"), ("b", "y"), ("c", "x")],
                vec![
                    (Became::Deleted, "a (x)"),
                    (Became::Updated, "b (y)"),
                    (Became::Created, "d (y)"),
                ],
            ),
            (
                vec![("a", "x")],
                vec![("a", "x"), ("a", "y")],
                vec![(Became::Updated, "a (y)")],
            ),
        ] {
            let [before, after] = [before, after].map(|of| of.into_iter().map(sample).collect::<Vec<_>>());
            let found = changes(&before, &after);
            let found: Vec<_> = found
                .iter()
                .map(|(became, resource)| (*became, Named::log_name(*resource)))
                .collect();
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(became, name)| (became, name.to_owned()))
                .collect();
            assert_eq!(found, wanted);
        }
    }
}
