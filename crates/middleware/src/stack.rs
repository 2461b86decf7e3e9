//! Chains of components.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use invoke_core::Body;
use invoke_core::pipeline::{Entered, Leave, Pipeline};

use crate::handler::{After, Call, Handler};
use crate::load::Middleware;

/// A component as a pipeline of the configuration names it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name of the component.
    pub name: &'a str,
    /// Its type, exactly as the component has it.
    pub kind: &'a str,
    /// Its version; none means `v1`.
    pub version: &'a str,
}

/// In what a component is not the one that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The type.
    Kind,
    /// The version.
    Version,
}

impl Wanted<'_> {
    /// In what a component of the name is another one, if it is. No version, here or there, is `v1`.
    pub fn mismatch(&self, kind: &str, version: &str) -> Option<Mismatch> {
        let or_first = |version| if str::is_empty(version) { "v1" } else { version };
        if self.kind != kind {
            Some(Mismatch::Kind)
        } else if or_first(self.version) != or_first(version) {
            Some(Mismatch::Version)
        } else {
            None
        }
    }
}

/// The components that are set up.
#[derive(Clone, Debug, Default)]
pub struct Store(Vec<Middleware>);

impl Store {
    /// Takes a component in; it replaces one of the same name.
    pub fn put(&mut self, middleware: Middleware) {
        self.0.retain(|known| known.spec().name != middleware.spec().name);
        self.0.push(middleware);
    }

    /// The component of a name.
    pub fn get(&self, name: &str) -> Option<&Middleware> {
        self.0.iter().find(|known| known.spec().name == name)
    }

    /// The chain of the components that are named, the first outermost; `None` if there is none of them. What is named
    /// and not there is left out, as in Dapr, and told.
    pub fn pipeline<'a>(
        &self,
        wanted: impl IntoIterator<Item = Wanted<'a>>,
        mut missing: impl FnMut(Wanted<'a>),
    ) -> Option<Arc<dyn Pipeline>> {
        let mut handlers = Vec::new();
        for wanted in wanted {
            match self.get(wanted.name).filter(|known| is_meant(wanted, known)) {
                Some(middleware) => handlers.push(Arc::clone(&middleware.handler)),
                None => missing(wanted),
            }
        }
        if handlers.is_empty() {
            return None;
        }
        Some(Arc::new(Stack(handlers.into())))
    }
}

fn is_meant(wanted: Wanted<'_>, middleware: &Middleware) -> bool {
    let spec = middleware.spec();
    wanted.mismatch(&spec.kind, &spec.version).is_none()
}

/// A chain.
#[derive(Debug)]
struct Stack(Box<[Arc<Handler>]>);

impl Pipeline for Stack {
    fn enter<'a>(
        &'a self,
        request: Request<Body>,
        peer: Option<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Entered> + Send + 'a>> {
        Box::pin(async move {
            let mut call = Call { request, peer };
            // Of the outermost first; nothing is kept of those that leave the answer alone.
            let mut then = Vec::new();
            for handler in &self.0 {
                match handler.handle(&mut call).await {
                    Ok(After::Nothing) => {}
                    Ok(after) => then.push(after),
                    Err(answer) => return Entered::Answered(unwind_later(then, *answer).await),
                }
            }
            let after = if then.is_empty() {
                Leave::default()
            } else if then.iter().any(After::waits) {
                Leave::later(|answer| unwind_later(then, answer))
            } else {
                Leave::with(|answer| unwind(then, answer))
            };
            Entered::Passed(call.request, after)
        })
    }
}

/// The answer as it comes out of the chain: the innermost component has it first.
fn unwind(then: Vec<After>, answer: Response<Body>) -> Response<Body> {
    then.into_iter()
        .rev()
        .fold(answer, |answer, after| after.apply(answer))
}

/// The same where somebody waits for something.
#[allow(clippy::unused_async, reason = "some sets of features have nobody who waits")]
async fn unwind_later(then: Vec<After>, mut answer: Response<Body>) -> Response<Body> {
    for after in then.into_iter().rev() {
        answer = match after {
            #[cfg(feature = "wasm")]
            After::Guest(waiting) => waiting.leave(answer).await,
            after => after.apply(answer),
        };
    }
    answer
}
