//! `middleware.http.wasm`: what becomes of a request decides a WebAssembly module, the *guest*, that speaks the ABI
//! `http_handler` of <https://http-wasm.io/http-handler-abi/>.
//!
//! A guest is compiled once, when the component is loaded, and has instances: each is lent to one call at a time, from
//! its request to the head of its answer, and is kept for the next. It runs where the call does, and gives the thread
//! back when it has had a slice of time ([`engine::TICK`]); that is why it runs on a stack of its own. So a guest that
//! takes a microsecond costs no change of threads, and one that never ends holds nobody up until it is stopped. Bodies
//! that it does not ask for pass it by.

mod body;
mod engine;
mod exchange;
mod guest;
mod host;
mod limits;
mod memory;
mod pool;
mod request;
mod response;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod wasi;

use std::fmt;
use std::sync::Arc;

use http::{Response, StatusCode};
use invoke_core::Body;
use thiserror::Error;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::load::Spec;
use crate::properties::{Duplicate, Properties};
use crate::web::Web;
use exchange::Exchange;
use guest::Fault;
use limits::{COMPILE, Limits};
use pool::{Lease, NoGuest, Pool};
use source::{Source, SourceError};

/// Why a component cannot be set up, in Dapr's words where Dapr has some.
#[derive(Debug, Error)]
pub(crate) enum WasmError {
    #[error("wasm: failed to parse metadata: {0}")]
    Names(#[from] Duplicate),
    #[error("wasm: failed to parse metadata: {0}")]
    Source(#[from] SourceError),
    #[error("wasm: error creating middleware: {0}")]
    Engine(String),
    #[error("wasm: error compiling guest: {0}")]
    Compile(String),
    #[error("wasm: {0}")]
    Exports(String),
    #[error("wasm: error instantiating guest: {0}")]
    Instantiate(String),
}

/// A guest with its instances.
pub(crate) struct Wasm {
    pool: Arc<Pool>,
}

/// What the metadata says besides where the guest is.
#[derive(Debug)]
struct Settings {
    source: Source,
    config: Box<[u8]>,
    is_strict: bool,
}

impl Settings {
    fn new(properties: &Properties) -> Result<Self, WasmError> {
        properties.check()?;
        let source = Source::new(properties.get("url").unwrap_or_default())?;
        let config = properties.get("guestConfig").unwrap_or_default();
        Ok(Self {
            source,
            config: config.as_bytes().into(),
            is_strict: properties.get("strictSandbox").is_some_and(go_text::is_truthy),
        })
    }
}

/// Whether a component can be set up, as far as that is known without asking a server and without running the guest.
pub(crate) fn check(properties: &Properties) -> Result<(), WasmError> {
    let settings = Settings::new(properties)?;
    match settings.source.read()? {
        Some(module) => guest::compile(&module).map(|_| ()),
        None => Ok(()),
    }
}

impl Wasm {
    /// Reads, compiles and tries the guest.
    pub(crate) async fn new(spec: &Spec, web: &Web) -> Result<Self, WasmError> {
        let settings = Settings::new(&spec.properties)?;
        let component = format!("{} ({}/{})", spec.name, spec.kind, spec.version);
        let module = settings.source.load(web).await?;
        // A large module is compiled for seconds, and one that means harm for longer.
        let compiling = tokio::task::spawn_blocking(move || guest::compile(&module));
        let compiled = match tokio::time::timeout(COMPILE, compiling).await {
            Ok(Ok(compiled)) => compiled?,
            Ok(Err(error)) => return Err(WasmError::Engine(error.to_string())),
            Err(_) => {
                return Err(WasmError::Compile(format!(
                    "it took longer than {} s",
                    COMPILE.as_secs()
                )));
            }
        };
        let shared = state::Shared::new(component, settings.config, settings.is_strict, Limits::default());
        Self::of(compiled, shared).await
    }

    async fn of(compiled: guest::Compiled, shared: state::Shared) -> Result<Self, WasmError> {
        let pool = Arc::new(Pool::new(compiled, shared));
        // One instance at once: what does not run is told when it is loaded.
        let first = pool.take().await.map_err(|error| match error {
            NoGuest::Failed(why) => WasmError::Instantiate(why),
            NoGuest::AllLent(most) => WasmError::Instantiate(format!("{most} instances are in use")),
        })?;
        first.give_back();
        Ok(Self { pool })
    }

    /// Shows a request to the guest.
    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        let mut lease = match self.pool.take().await {
            Ok(lease) => lease,
            Err(NoGuest::AllLent(most)) => {
                let text = format!("wasm: {most} instances of the guest are in use");
                return Err(Box::new(refused(StatusCode::SERVICE_UNAVAILABLE, text)));
            }
            Err(NoGuest::Failed(why)) => return Err(Box::new(self.failed(&why))),
        };
        let request = std::mem::take(&mut call.request);
        lease.begin(Exchange::new(request, call.peer));
        let next = match lease.handle_request().await {
            Ok(next) => next,
            Err(fault) => return Err(Box::new(self.faulty(&fault))),
        };
        if next as u32 == 0 {
            let answer = lease.end().map(|exchange| exchange.response.into_answer());
            lease.give_back();
            return Err(Box::new(answer.unwrap_or_default()));
        }
        if let Some(exchange) = lease.exchange() {
            call.request = exchange.request.pass();
            exchange.response.is_after_next = true;
        }
        let context = (next >> 32) as u32;
        let pool = Arc::clone(&self.pool);
        Ok(After::Guest(Box::new(Waiting { lease, context, pool })))
    }

    fn failed(&self, why: &str) -> Response<Body> {
        failed(&self.pool, why)
    }

    fn faulty(&self, fault: &Fault) -> Response<Body> {
        faulty(&self.pool, fault)
    }
}

impl fmt::Debug for Wasm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wasm").field(&self.pool.component()).finish()
    }
}

/// A guest that is still to see the answer.
pub(crate) struct Waiting {
    lease: Lease,
    /// What the guest said of the request, for itself.
    context: u32,
    pool: Arc<Pool>,
}

impl Waiting {
    /// Shows the answer to the guest: its head, and the body if the guest has it buffered.
    pub(crate) async fn leave(mut self, answer: Response<Body>) -> Response<Body> {
        let longest = self.pool.limits().body;
        if let Some(exchange) = self.lease.exchange() {
            match exchange.response.take_in(answer, longest).await {
                Ok(()) => {}
                Err(body::NotTaken::Broken(broken)) => return *broken,
                Err(body::NotTaken::TooLong(longest)) => {
                    return failed(
                        &self.pool,
                        &format!("the body of the answer is longer than {longest} bytes"),
                    );
                }
            }
        }
        if let Err(fault) = self.lease.handle_response(self.context).await {
            return faulty(&self.pool, &fault);
        }
        let answer = self.lease.end().map(|exchange| exchange.response.into_answer());
        self.lease.give_back();
        answer.unwrap_or_default()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.context).finish()
    }
}

/// The answer in place of a guest that came to grief; the guest is not used again.
fn faulty(pool: &Pool, fault: &Fault) -> Response<Body> {
    failed(pool, &fault.to_string())
}

fn failed(pool: &Pool, why: &str) -> Response<Body> {
    let component = pool.component();
    tracing::error!(target: "dapr.runtime", component, "the guest failed: {why}");
    refused(StatusCode::INTERNAL_SERVER_ERROR, why.to_owned())
}
