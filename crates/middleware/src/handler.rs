//! What a component does with a request.

use std::net::SocketAddr;

use http::{HeaderMap, Request, Response};
use invoke_core::Body;

/// A request on its way through a chain.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request<Body>,
    /// Who sent it, where there is a connection.
    pub(crate) peer: Option<SocketAddr>,
}

/// What a component still does with the answer.
#[derive(Debug)]
pub(crate) enum After {
    /// Nothing.
    Nothing,
    /// It adds headers.
    #[cfg(feature = "ratelimit")]
    Add(HeaderMap),
    /// It writes the body in capitals.
    #[cfg(feature = "uppercase")]
    Upper,
    /// It shows the answer to a guest.
    #[cfg(feature = "wasm")]
    Guest(Box<crate::wasm::Waiting>),
}

impl After {
    /// Whether it takes more than a moment.
    #[cfg_attr(
        not(feature = "wasm"),
        allow(clippy::unused_self, reason = "nobody else waits")
    )]
    pub(crate) fn waits(&self) -> bool {
        #[cfg(feature = "wasm")]
        if matches!(self, Self::Guest(_)) {
            return true;
        }
        false
    }

    pub(crate) fn apply(self, mut answer: Response<Body>) -> Response<Body> {
        match self {
            Self::Nothing => answer,
            #[cfg(feature = "ratelimit")]
            Self::Add(headers) => {
                let mut name = None;
                for (next, value) in headers {
                    name = next.or(name);
                    if let Some(name) = &name {
                        answer.headers_mut().append(name, value);
                    }
                }
                answer
            }
            #[cfg(feature = "uppercase")]
            Self::Upper => answer.map(crate::uppercase::upper),
            // Who waits is not asked here.
            #[cfg(feature = "wasm")]
            Self::Guest(_) => answer,
        }
    }
}

/// What becomes of a request: it goes on, or this is its answer.
pub(crate) type Verdict = Result<After, Box<Response<Body>>>;

/// A component that is set up.
#[derive(Debug)]
pub(crate) enum Handler {
    #[cfg(feature = "uppercase")]
    Uppercase(crate::uppercase::Uppercase),
    #[cfg(feature = "bearer")]
    Bearer(crate::bearer::Bearer),
    #[cfg(feature = "oauth2")]
    OAuth2(crate::oauth::code::OAuth2),
    #[cfg(feature = "oauth2clientcredentials")]
    ClientCredentials(crate::oauth::client_credentials::ClientCredentials),
    #[cfg(feature = "opa")]
    Opa(Box<crate::opa::Opa>),
    #[cfg(feature = "ratelimit")]
    RateLimit(crate::ratelimit::RateLimit),
    #[cfg(feature = "routeralias")]
    RouterAlias(crate::routeralias::RouterAlias),
    #[cfg(feature = "routerchecker")]
    RouterChecker(crate::routerchecker::RouterChecker),
    #[cfg(feature = "wasm")]
    Wasm(crate::wasm::Wasm),
}

impl Handler {
    /// Looks at a request, changes it, or answers it.
    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        match self {
            #[cfg(feature = "uppercase")]
            Self::Uppercase(uppercase) => uppercase.handle(call).await,
            #[cfg(feature = "bearer")]
            Self::Bearer(bearer) => bearer.handle(call),
            #[cfg(feature = "oauth2")]
            Self::OAuth2(oauth2) => oauth2.handle(call).await,
            #[cfg(feature = "oauth2clientcredentials")]
            Self::ClientCredentials(credentials) => credentials.handle(call).await,
            #[cfg(feature = "opa")]
            Self::Opa(opa) => opa.handle(call).await,
            #[cfg(feature = "ratelimit")]
            Self::RateLimit(limit) => limit.handle(call),
            #[cfg(feature = "routeralias")]
            Self::RouterAlias(alias) => {
                alias.handle(call);
                Ok(After::Nothing)
            }
            #[cfg(feature = "routerchecker")]
            Self::RouterChecker(checker) => checker.handle(call),
            #[cfg(feature = "wasm")]
            Self::Wasm(wasm) => wasm.handle(call).await,
        }
    }
}
