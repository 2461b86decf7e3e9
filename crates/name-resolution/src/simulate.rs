//! A door for simulations: what is looked up again and again, without a DNS.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::{Endpoint, EndpointWatch};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use lifecycle::Tasks;

use crate::refresh::{Found, Refreshing};

/// A resolver that looks apps up as those of `dns` and `kubernetes` do.
#[derive(Debug)]
pub struct LookedUp<L> {
    refreshing: Refreshing,
    look_up: Arc<L>,
}

impl<L, F> LookedUp<L>
where
    L: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<(Vec<Endpoint>, Duration), ResolveError>> + Send,
{
    /// `look_up` finds the endpoints of the one app there is, and for how long they are good.
    pub fn new(tasks: Tasks, look_up: L) -> Self {
        Self {
            refreshing: Refreshing::new("simulated", tasks),
            look_up: Arc::new(look_up),
        }
    }
}

impl<L, F> Resolver for LookedUp<L>
where
    L: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<(Vec<Endpoint>, Duration), ResolveError>> + Send + 'static,
{
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let look_up = Arc::clone(&self.look_up);
        self.refreshing.watch(app, move || {
            let looked_up = look_up();
            async move {
                let (endpoints, good_for) = looked_up.await?;
                Ok(Found { endpoints, good_for })
            }
        })
    }

    fn unreachable(&self, app: &AppRef, _: &Endpoint) {
        self.refreshing.hurry(app);
    }
}
