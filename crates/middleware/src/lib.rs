//! HTTP middleware: the components `middleware.http.*`, and the chains that a configuration makes of them.
//!
//! [`Middleware::load`] makes a component from its metadata, or says why it cannot; [`Store::pipeline`] makes a chain
//! of those that a configuration names, as an [`invoke_core::Pipeline`]: the API door has one before its routes, the
//! channel to the app has another. A chain is immutable. It is built with a generation of the sidecar, and ends with
//! that generation. A component whose [`Spec`] is the same in the next generation may go on there, with what it
//! remembers.
//!
//! Each component is a module and a cargo feature. A component that Dapr has and this crate does not is refused by
//! its name: a sidecar that is told to check its callers must not serve without the check. Bodies stream through. A
//! component that needs a whole body has a bound for it. This crate knows no routes, no apps and no files.

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
#[cfg(feature = "paths")]
mod paths;
mod properties;
#[cfg(feature = "ratelimit")]
mod ratelimit;
#[cfg(feature = "regexp")]
mod regexp;
#[cfg(feature = "request")]
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
