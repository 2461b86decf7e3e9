//! Metrics that are pushed, whichever generation asked for them.
//!
//! They are not a generation's: one that still has calls lasts for as long as they do, and would go on to push what the
//! next one pushes, or what nobody wants pushed any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry::push::{PushPlan, Pushing};

/// The plan that is followed, and whoever follows it, if one could begin.
type Followed = (PushPlan, Option<Pushing>);

/// Who pushes, if anybody does. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Pushed(Arc<Mutex<Option<Followed>>>);

impl Pushed {
    fn known(&self) -> MutexGuard<'_, Option<Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on it is done as the plan says. One that is followed already goes on as it is; another one pushes once
    /// more and ends.
    pub(super) fn follow(&self, plan: Option<PushPlan>, begin: impl FnOnce(&PushPlan) -> Option<Pushing>) {
        let mut known = self.known();
        if known.as_ref().map(|(known, _)| known) != plan.as_ref() {
            *known = plan.map(|plan| {
                let pushing = begin(&plan);
                (plan, pushing)
            });
        }
    }

    /// The last values go out, and no further.
    pub(super) fn end(&self) {
        *self.known() = None;
    }
}

#[cfg(test)]
mod tests {
    use telemetry::push::OtlpSpec;

    use super::*;

    #[test]
    fn a_plan_is_begun_once_for_as_long_as_it_is_the_same() {
        let plan = |endpoint: &str| {
            let spec = OtlpSpec {
                endpoint: endpoint.to_owned(),
                ..OtlpSpec::default()
            };
            PushPlan::of(&spec, "me", |_| None).unwrap()
        };
        let (pushed, mut begun) = (Pushed::default(), 0);
        for (endpoint, wanted) in [("", 0), ("a:1", 1), ("a:1", 1), ("b:1", 2), ("", 2), ("b:1", 3)] {
            pushed.follow(plan(endpoint), |_| {
                begun += 1;
                None
            });
            assert_eq!(begun, wanted, "{endpoint}");
        }
        pushed.end();
        assert!(pushed.known().is_none());
    }
}
