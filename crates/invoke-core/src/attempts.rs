//! How hard to try: the port that policies implement, and the retry that is built in.
//!
//! A policy never sends anything. It is asked before each attempt of a call, told what came of it, and says whether
//! that was the last word. *Elsewhere* (another endpoint, because nobody saw the call) is not its matter, only *again*.

use std::time::Duration;

use tokio::time::Instant;

use crate::body::End;
use crate::error::{Cause, Delivery, InvokeError, code};
use crate::id::{AppId, AppRef};
use crate::pushback::Pushback;
use crate::verb::Verb;

/// Decides how hard to try. [`BuiltInRetry`] is what Dapr does by itself.
pub trait Attempts: Send + Sync + 'static {
    /// What it holds the calls to one target to; looked up once, when the target is found.
    type Policy: Send + Sync + 'static;
    /// One call under a policy.
    type Run: Run;

    /// The policy for a target, which a caller wrote like that; `None` costs its calls one comparison.
    fn policy(&self, target: Named<'_>, written: &str) -> Option<Self::Policy>;

    /// A call begins; `None` when the policy is not for such a call.
    fn begin(&self, policy: &Self::Policy, call: CallFacts<'_>) -> Option<Self::Run>;
}

/// The target of a call, as policies name it.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// The app of this sidecar.
    Own(&'a AppId),
    /// The app of another sidecar.
    Peer(&'a AppRef),
    /// An endpoint outside of the mesh: the name of its resource, or its URL.
    External(&'a str),
}

/// What a policy may want to know of a call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallFacts<'a> {
    /// How the call came.
    pub road: Road,
    /// The normalised method of an invocation, or the path of a call that is passed on.
    pub method: &'a [u8],
    /// The verb of an invocation that has one.
    pub verb: Option<Verb>,
    /// The length of its body is not known before its end, so that it cannot be sent twice.
    pub is_streaming: bool,
}

impl<'a> CallFacts<'a> {
    /// A call with a body of known length.
    pub fn new(road: Road, method: &'a [u8]) -> Self {
        Self {
            road,
            method,
            verb: None,
            is_streaming: false,
        }
    }
}

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// Invoked by the HTTP API.
    Http,
    /// Invoked by the gRPC API.
    Grpc,
    /// A gRPC call that is passed on as it is: nobody here knows what it does.
    Proxied {
        /// The caller says by `dapr-stream` that it lasts: a policy is for its beginning only.
        is_long: bool,
    },
}

impl Road {
    /// Whether the call is passed on as it is.
    pub fn is_proxied(self) -> bool {
        matches!(self, Self::Proxied { .. })
    }
}

/// One call under a policy, from its first attempt to the end of its answer. Dropping it before means that the caller
/// went away.
pub trait Run: Send + Sync + Unpin + 'static {
    /// May the next attempt begin, and until when may it last, the body of its answer included?
    fn admit(&mut self) -> Result<Option<Instant>, InvokeError> {
        Ok(None)
    }

    /// How many bytes of a body of known length, or of a proxied call, may be kept for another attempt.
    fn keeps(&self) -> u64 {
        KEPT
    }

    /// Whether a proxied call may have one message only, because it is kept and may be sent again.
    fn wants_one_message(&self) -> bool {
        false
    }

    /// Whether statuses of answers are judged. Only then is the head of a proxied call's answer held back until its
    /// status or its first message is there.
    fn wants_status(&self) -> bool {
        false
    }

    /// Whether it wants to be told what the other side says of another attempt.
    fn wants_pushback(&self) -> bool {
        false
    }

    /// The answer that is judged next says this of another attempt.
    fn pushed_back(&mut self, pushback: Pushback) {
        let _ = pushback;
    }

    /// After which time an attempt without an answer is made at a second endpoint beside the first, if ever.
    fn hedges_after(&self) -> Option<Duration> {
        None
    }

    /// That time is over, and there is a second endpoint: may it be asked, too?
    fn may_hedge(&self) -> bool {
        false
    }

    /// Was that the last word?
    fn judge(&mut self, outcome: Outcome<'_>) -> Verdict;

    /// Another attempt is certain after this outcome and this pause.
    fn repeats(&mut self, outcome: Outcome<'_>, pause: Duration) {
        let _ = (outcome, pause);
    }

    /// The failure that the caller is told after the last attempt.
    fn last_word(&self, error: InvokeError) -> InvokeError {
        error
    }

    /// Whether it wants to be told how the body of the answer ended.
    fn wants_end(&self) -> bool {
        false
    }

    /// The body of the answer ended. A proxied call has its status there.
    fn ended(self, end: End<'_>, status: Option<i32>)
    where
        Self: Sized,
    {
        let _ = (end, status);
    }
}

/// How many bytes of a body are kept for another attempt when nobody asks for more.
const KEPT: u64 = 64 * 1024;

/// What came of an attempt.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// An answer with this status (of HTTP from 100 on, of gRPC below), or `None` when a proxied call was answered with
    /// a message, so that its status comes at the end.
    Answered(Option<i32>),
    /// An answer in place of an app that could not be reached: nobody saw the call.
    Unseen(i32),
    /// No answer.
    Failed(&'a InvokeError),
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: this is what the caller gets.
    Done,
    /// Another attempt after this time, if the body of the call can still be sent.
    Again(Duration),
}

/// One attempt for each call, and no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

/// A policy or a call that nobody can have.
#[derive(Clone, Copy, Debug)]
pub enum Never {}

impl Attempts for Once {
    type Policy = Never;
    type Run = Never;

    fn policy(&self, _: Named<'_>, _: &str) -> Option<Never> {
        None
    }

    fn begin(&self, policy: &Never, _: CallFacts<'_>) -> Option<Never> {
        Some(*policy)
    }
}

impl Run for Never {
    fn judge(&mut self, _: Outcome<'_>) -> Verdict {
        match *self {}
    }
}

/// The built-in retry, as Dapr calls it in its log.
const BUILT_IN: &str = "DaprBuiltInServiceRetries";

/// What Dapr does for calls to other apps when no policy names the target.
#[derive(Clone, Copy, Debug)]
pub struct BuiltInRetry {
    /// How many attempts may follow the first when the other sidecar is unavailable.
    pub retries: u32,
    /// The pause before each of them.
    pub pause: Duration,
    /// Whether calls are repeated that the other side may have seen: one that was delivered before its connection broke
    /// is then made twice. Dapr does that.
    pub repeats_seen: bool,
}

impl Default for BuiltInRetry {
    /// Three retries, a second apart, as in Dapr.
    fn default() -> Self {
        Self {
            retries: 3,
            pause: Duration::from_secs(1),
            repeats_seen: true,
        }
    }
}

/// A call under [`BuiltInRetry`].
#[derive(Debug)]
pub struct BuiltInRun {
    settings: BuiltInRetry,
    app: AppRef,
    is_proxied: bool,
    is_streaming: bool,
    /// How many attempts failed.
    failures: u32,
    /// Whether the log says that the call is tried again.
    is_told: bool,
}

impl Attempts for BuiltInRetry {
    type Policy = AppRef;
    type Run = BuiltInRun;

    fn policy(&self, target: Named<'_>, _: &str) -> Option<AppRef> {
        match target {
            Named::Peer(app) => Some(app.clone()),
            Named::Own(_) | Named::External(_) => None,
        }
    }

    fn begin(&self, app: &AppRef, call: CallFacts<'_>) -> Option<BuiltInRun> {
        Some(self.run(app.clone(), call.road.is_proxied(), call.is_streaming))
    }
}

impl BuiltInRetry {
    /// A call to this app under this retry.
    pub fn run(self, app: AppRef, is_proxied: bool, is_streaming: bool) -> BuiltInRun {
        BuiltInRun {
            settings: self,
            app,
            is_proxied,
            is_streaming,
            failures: 0,
            is_told: false,
        }
    }
}

impl BuiltInRun {
    /// Whether a failure is one of those that Dapr tries again after.
    fn is_retried(&self, error: &InvokeError) -> bool {
        let is_unavailable = matches!(
            &error.cause,
            Cause::Rpc(status) if matches!(status.code, code::UNAVAILABLE | code::UNAUTHENTICATED)
        );
        let is_allowed = self.settings.repeats_seen || error.seen == Delivery::No;
        is_unavailable && is_allowed && !self.is_proxied && !self.is_streaming
    }

    /// The one sidecar there is went away as the call came, or just came back at another address.
    fn was_just_missed(&self, error: &InvokeError) -> bool {
        self.is_proxied
            && self.failures == 1
            && error.is_unseen_by_peer()
            && matches!(error.cause, Cause::Rpc(_))
    }
}

impl Run for BuiltInRun {
    fn keeps(&self) -> u64 {
        // What a proxied call begins with may go to another instance when the app of the first is gone.
        if self.is_streaming && !self.is_proxied {
            return 0;
        }
        KEPT
    }

    fn judge(&mut self, outcome: Outcome<'_>) -> Verdict {
        let Outcome::Failed(error) = outcome else {
            if self.is_told {
                let attempts = self.failures + 1;
                tracing::info!(
                    target: "dapr.runtime",
                    "Recovered processing operation {BUILT_IN} after {attempts} attempts"
                );
            }
            return Verdict::Done;
        };
        self.failures += 1;
        if self.was_just_missed(error) {
            return Verdict::Again(Duration::ZERO);
        }
        if !self.is_retried(error) || self.failures > self.settings.retries {
            return Verdict::Done;
        }
        Verdict::Again(self.settings.pause)
    }

    /// Says in the log that the call is tried again: once, however often that is.
    fn repeats(&mut self, outcome: Outcome<'_>, pause: Duration) {
        let Outcome::Failed(error) = outcome else { return };
        if self.is_told || self.is_proxied {
            return;
        }
        self.is_told = true;
        tracing::warn!(
            target: "dapr.runtime",
            "Error processing operation {BUILT_IN}. Retrying in {pause:?}…"
        );
        tracing::debug!(
            target: "dapr.runtime",
            "Error for operation {BUILT_IN} was: failed to invoke target {} after 0 retries. Error: {error}",
            self.app.id
        );
    }

    fn last_word(&self, error: InvokeError) -> InvokeError {
        if !self.is_retried(&error) {
            return error;
        }
        InvokeError {
            cause: Cause::Exhausted {
                app: self.app.id.as_str().to_owned(),
                retries: self.failures - 1,
                last: Box::new(error.cause),
            },
            ..error
        }
    }
}
