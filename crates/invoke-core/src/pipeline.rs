//! HTTP middleware, as those see it who have a request on its way: the API door and the channel to an app.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use http::{Request, Response};

use crate::body::Body;

/// A chain of HTTP middleware that configuration chose. Whoever has none has no `Pipeline`, and pays nothing.
///
/// A call goes *in* with its request and *out* with its answer. What is in between belongs to the one who asked, so no
/// middleware owns a call: dropping the future of either side cancels it as ever.
pub trait Pipeline: Send + Sync + fmt::Debug + 'static {
    /// Shows a request to the chain, in the order of the configuration. Bodies stream through.
    ///
    /// The URI of the request is a path with a query, escaped. `peer` is who sent it, where there is a connection.
    fn enter<'a>(
        &'a self,
        request: Request<Body>,
        peer: Option<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Entered> + Send + 'a>>;
}

/// What a chain makes of a request.
pub enum Entered {
    /// The call goes on, with this request. Its answer is to be shown to [`Leave`].
    Passed(Request<Body>, Leave),
    /// This is the answer; nobody else is asked.
    Answered(Response<Body>),
}

/// What a chain still has to do when the answer is there.
#[derive(Default)]
pub struct Leave(Then);

#[derive(Default)]
enum Then {
    #[default]
    Nothing,
    Now(Box<dyn FnOnce(Response<Body>) -> Response<Body> + Send>),
    Later(Box<dyn FnOnce(Response<Body>) -> Changing + Send>),
}

type Changing = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

impl Leave {
    /// The answer goes through this function.
    pub fn with(change: impl FnOnce(Response<Body>) -> Response<Body> + Send + 'static) -> Self {
        Self(Then::Now(Box::new(change)))
    }

    /// The same of a function that waits: for the rest of the answer, or for somebody else.
    pub fn later<F>(change: impl FnOnce(Response<Body>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self(Then::Later(Box::new(|answer| Box::pin(change(answer)))))
    }

    /// Whether the answer stays as it is.
    pub fn is_nothing(&self) -> bool {
        matches!(self.0, Then::Nothing)
    }

    /// The answer as the chain leaves it.
    pub async fn apply(self, answer: Response<Body>) -> Response<Body> {
        match self.0 {
            Then::Nothing => answer,
            Then::Now(change) => change(answer),
            Then::Later(change) => change(answer).await,
        }
    }
}

impl fmt::Debug for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leave").field(&self.is_nothing()).finish()
    }
}
