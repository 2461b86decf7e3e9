//! Failures of a call to an app, in the words of Go's HTTP client.

use grpc_wire::RelayFailure;
use invoke_core::{BodyError, Cause, Delivery, Fault, InvokeError, RpcStatus};
use transport::client::{ClientError, ErrorKind};

use crate::url::UrlError;

/// A URL that cannot be.
pub(crate) fn of_url(error: UrlError) -> InvokeError {
    let text = error.to_string();
    InvokeError::unsent(
        Fault::Caller,
        Cause::App {
            text,
            source: Some(error.into()),
        },
    )
}

/// A path and an address that do not go together.
pub(crate) fn of_parts(error: http::uri::InvalidUriParts) -> InvokeError {
    let text = error.to_string();
    InvokeError::unsent(
        Fault::Us,
        Cause::App {
            text,
            source: Some(error.into()),
        },
    )
}

/// A call that no answer came to: `Get "http://127.0.0.1:1/m": EOF`.
pub(crate) fn of_call(
    method: &http::Method,
    url: &str,
    max_header_bytes: usize,
    error: ClientError,
    body_error: Option<BodyError>,
) -> InvokeError {
    let seen = seen(error.seen());
    let what = match (&body_error, error.kind()) {
        (Some(broken), _) => broken.to_string(),
        (None, ErrorKind::HeadTooLarge) => {
            format!("net/http: server response headers exceeded {max_header_bytes} bytes; aborted")
        }
        (None, ErrorKind::Malformed) => {
            format!("net/http: HTTP/1.x transport connection broken: {error}")
        }
        _ => error.to_string(),
    };
    let text = format!("{} {url:?}: {what}", verb(method));
    let fault = if body_error.is_some() {
        Fault::Caller
    } else {
        Fault::App
    };
    let source = body_error.map_or_else(|| error.into_source(), Into::into);
    InvokeError::new(
        fault,
        seen,
        Cause::App {
            text,
            source: Some(source),
        },
    )
}

/// A redirect that could not be followed: `Get "http://127.0.0.1:1/m": stopped after 10 redirects`.
pub(crate) fn of_redirect(method: &http::Method, url: &str, what: &str) -> InvokeError {
    let text = format!("{} {url:?}: {what}", verb(method));
    InvokeError::new(Fault::App, Delivery::Yes, Cause::App { text, source: None })
}

/// A proxied call that no answer came to.
pub(crate) fn of_relay(failure: RelayFailure) -> InvokeError {
    let fault = if failure.is_of_request {
        Fault::Caller
    } else {
        Fault::App
    };
    let seen = seen(failure.seen);
    InvokeError::new(
        fault,
        seen,
        RpcStatus::new(failure.status.code, failure.status.message),
    )
}

fn seen(seen: transport::client::Delivery) -> Delivery {
    match seen {
        transport::client::Delivery::No => Delivery::No,
        transport::client::Delivery::Maybe => Delivery::Maybe,
    }
}

/// A `Content-Length` that is no number.
pub(crate) fn of_length(text: &str) -> InvokeError {
    let text = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
    InvokeError::unsent(Fault::Caller, Cause::App { text, source: None })
}

/// Go prints the method of a failed request with one capital.
fn verb(method: &http::Method) -> String {
    let name = method.as_str();
    let mut verb = name[..1].to_owned();
    verb.push_str(&name[1..].to_ascii_lowercase());
    verb
}
