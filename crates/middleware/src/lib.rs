//! HTTP middleware: the components `middleware.http.*`, and the chains that a configuration makes of them.
//!
//! [`Middleware::load`] makes a component of its metadata, or says why not; [`Store::pipeline`] makes a chain of those
//! that a configuration names, as an [`invoke_core::Pipeline`]: the API door has one before its routes, the channel to
//! the app has another. A chain is immutable. It is built with a generation of the sidecar and goes with it; a component
//! whose [`Spec`] is the same in the next may go on there, with what it remembers.
//!
//! Each component is a module and a cargo feature. One that Dapr has and that is not here is refused by its name: a
//! sidecar that is told to check its callers does not serve without. Bodies stream through; whoever needs one as a whole
//! has a bound. This crate knows no routes, no apps and no files.

mod answer;
#[cfg(feature = "bearer")]
mod bearer;
#[cfg(feature = "bodylimit")]
mod body_limit;
#[cfg(feature = "claims")]
mod claims;
#[cfg(feature = "cors")]
mod cors;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod handler;
#[cfg(feature = "headers")]
mod headers;
#[cfg(feature = "ipfilter")]
mod ip_filter;
mod load;
#[cfg(any(feature = "oauth2", feature = "oauth2clientcredentials"))]
mod oauth;
#[cfg(feature = "opa")]
mod opa;
#[cfg(any(
    feature = "bodylimit",
    feature = "cors",
    feature = "headers",
    feature = "ipfilter",
    feature = "oauth2",
    feature = "oauth2clientcredentials"
))]
mod paths;
mod properties;
#[cfg(feature = "ratelimit")]
mod ratelimit;
#[cfg(any(
    feature = "bodylimit",
    feature = "cors",
    feature = "headers",
    feature = "ipfilter",
    feature = "oauth2",
    feature = "oauth2clientcredentials",
    feature = "routeralias",
    feature = "routerchecker"
))]
mod regexp;
#[cfg(any(
    feature = "bodylimit",
    feature = "cors",
    feature = "headers",
    feature = "ipfilter",
    feature = "oauth2",
    feature = "oauth2clientcredentials",
    feature = "opa",
    feature = "ratelimit",
    feature = "routeralias",
    feature = "routerchecker",
    feature = "sentinel",
    feature = "wasm"
))]
#[cfg_attr(
    not(all(
        feature = "oauth2clientcredentials",
        feature = "routeralias",
        feature = "routerchecker"
    )),
    allow(dead_code, unused_imports, reason = "those who ask are features")
)]
mod request;
#[cfg(feature = "routeralias")]
mod routeralias;
#[cfg(feature = "routerchecker")]
mod routerchecker;
#[cfg(feature = "sentinel")]
mod sentinel;
mod stack;
#[cfg(feature = "uppercase")]
mod uppercase;
#[cfg(feature = "wasm")]
mod wasm;
mod web;
mod whole;

pub use load::{LoadError, Middleware, Spec, built_types, known_types};
pub use properties::Properties;
pub use stack::{Mismatch, Store, Wanted};
pub use web::Web;
