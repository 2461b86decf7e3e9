//! What a component does with a request.

use std::net::SocketAddr;

use http::{Request, Response};
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
    Add(Vec<(http::HeaderName, http::HeaderValue)>),
    /// It writes the body in capitals.
    #[cfg(feature = "uppercase")]
    Upper,
    /// It changes headers.
    #[cfg(feature = "headers")]
    Change(std::sync::Arc<crate::headers::Changes>),
    /// It says which pages may read it.
    #[cfg(feature = "cors")]
    Cors(Box<http::HeaderMap>),
    /// It is told when the call is over.
    #[cfg(feature = "sentinel")]
    Complete(crate::sentinel::Passage),
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
                answer.headers_mut().reserve(headers.len());
                for (name, value) in headers {
                    answer.headers_mut().append(name, value);
                }
                answer
            }
            #[cfg(feature = "uppercase")]
            Self::Upper => answer.map(crate::uppercase::upper),
            #[cfg(feature = "headers")]
            Self::Change(changes) => {
                changes.apply(answer.headers_mut());
                answer
            }
            #[cfg(feature = "cors")]
            Self::Cors(told) => {
                crate::cors::apply(*told, answer.headers_mut());
                answer
            }
            #[cfg(feature = "sentinel")]
            Self::Complete(passage) => passage.answered(answer),
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
    #[cfg(feature = "sentinel")]
    Sentinel(crate::sentinel::Sentinel),
    #[cfg(feature = "bodylimit")]
    BodyLimit(crate::body_limit::BodyLimit),
    #[cfg(feature = "claims")]
    Claims(crate::claims::Claims),
    #[cfg(feature = "cors")]
    Cors(crate::cors::Cors),
    #[cfg(feature = "headers")]
    Headers(crate::headers::Headers),
    #[cfg(feature = "ipfilter")]
    IpFilter(crate::ip_filter::IpFilter),
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
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinel) => sentinel.handle(call).await,
            #[cfg(feature = "bodylimit")]
            Self::BodyLimit(limit) => limit.handle(call),
            #[cfg(feature = "claims")]
            Self::Claims(claims) => claims.handle(call),
            #[cfg(feature = "cors")]
            Self::Cors(cors) => cors.handle(call),
            #[cfg(feature = "headers")]
            Self::Headers(headers) => Ok(headers.handle(call)),
            #[cfg(feature = "ipfilter")]
            Self::IpFilter(filter) => filter.handle(call),
            #[cfg(feature = "wasm")]
            Self::Wasm(wasm) => wasm.handle(call).await,
        }
    }
}
