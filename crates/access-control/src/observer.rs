//! Decisions, told to whoever counts them.

use crate::spiffe::SpiffeId;

/// Whose action decided, or would have decided had no operation matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The policy for the calling app, because it has a default action.
    App,
    /// The default action for all.
    Global,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged<'a> {
    /// Who called; `None` without mTLS.
    pub caller: Option<SpiffeId<'a>>,
    /// Whose action it was.
    pub source: Source,
    /// Whether the app may be called.
    pub is_allowed: bool,
}

/// Is told every decision. It is called on the way of the call and must not wait.
pub trait Observer: Send + Sync + 'static {
    /// A call was judged.
    fn judged(&self, judged: Judged<'_>);
}

/// Nobody counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn judged(&self, _: Judged<'_>) {}
}
