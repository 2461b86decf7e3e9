//! What the sidecar does with its app at start: waits for it, and asks for its configuration.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use invoke_core::{AppId, Body, Head, Invocation, MethodPath, Origin, Verb};
use lifecycle::Shutdown;
use tokio::time::{sleep, timeout};
use transport::client::{ConnectError, probe};
use transport::tls::OriginTls;

use crate::app::App;

const ATTEMPT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);
const REMINDER: u64 = 100;
/// An app that accepts and never answers must not hold the start for ever.
const ANSWER: Duration = Duration::from_secs(30);

/// Waits until something listens at `address` (`host:port`), and shakes hands if TLS is given. `false` when the drain
/// begins before.
pub async fn wait_for_app(
    protocol: &str,
    address: &str,
    port: u16,
    tls: Option<&OriginTls>,
    shutdown: &Shutdown,
) -> bool {
    tracing::info!(
        target: "dapr.runtime",
        "application protocol: {protocol}. waiting on port {port}.  \
         This will block until the app is listening on that port."
    );
    let waiting = async {
        let mut is_told = false;
        for failures in 1_u64.. {
            let Err(error) = probe(address, tls, None, ATTEMPT).await else {
                return;
            };
            // An app that is not there yet will come. One that cannot be spoken to needs somebody who looks at it.
            if !is_told && matches!(error, ConnectError::Handshake(_)) {
                is_told = true;
                tracing::warn!(
                    target: "dapr.runtime",
                    "the application listens on port {port}, but there is no TLS connection to it: {error}"
                );
            }
            if failures % REMINDER == 0 {
                tracing::info!(target: "dapr.runtime", "waiting for application to listen on port {port}");
                tracing::debug!(target: "dapr.runtime", "the application cannot be reached: {error}");
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = shutdown.draining() => return false,
        () = waiting => {}
    }
    tracing::info!(target: "dapr.runtime", "application discovered on port {port}");
    true
}

/// Asks the app for `/dapr/config`. Its content concerns actors alone, so the answer is not read, and
/// an app that does not answer is no error.
pub async fn load_app_configuration(app: &App, app_id: &AppId) {
    if ask(app, app_id, "dapr/config").await {
        tracing::info!(target: "dapr.runtime", "Application configuration loaded");
    }
}

/// Asks the app for `/dapr/subscribe`, as it expects it of a sidecar that has a message bus. Its answer is not used:
/// this sidecar delivers no messages.
pub async fn load_subscriptions(app: &App, app_id: &AppId) {
    ask(app, app_id, "dapr/subscribe").await;
}

/// Whether the app answered at all.
async fn ask(app: &App, app_id: &AppId, path: &'static str) -> bool {
    let Some(channel) = app.as_http() else {
        return false;
    };
    let Ok(method) = MethodPath::parse(Bytes::from_static(path.as_bytes())) else {
        return false;
    };
    let mut head = Head::new(method, Origin::Http);
    head.verb = Some(Verb::GET);
    head.content_type = Some(HeaderValue::from_static("application/json"));
    if let Ok(app_id) = HeaderValue::from_str(app_id.as_str()) {
        head.headers.insert(invoke_core::headers::DAPR_APP_ID, app_id);
    }
    let body = Body::empty();
    let watch = app.watch().begin(&head, &body);
    let call = async { watch.end(channel.send(Invocation { head, body }).await) };
    match timeout(ANSWER, call).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::debug!(target: "dapr.runtime", "no answer to /{path} of the application: {error}");
            false
        }
        Err(_) => {
            tracing::warn!(
                target: "dapr.runtime",
                "the application did not answer /{path} within {ANSWER:?}"
            );
            false
        }
    }
}
