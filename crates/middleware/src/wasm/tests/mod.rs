//! Guests as text, and what they do.

mod bodies;
mod bounds;
mod functions;
mod loading;

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use invoke_core::Body;

use super::limits::Limits;
use super::state::Shared;
use super::{Wasm, WasmError, guest};
use crate::handler::{After, Call};

/// The functions of the host as a guest imports them.
const IMPORTS: &str = r#"
(import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
(import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
(import "http_handler" "log_enabled" (func $log_enabled (param i32) (result i32)))
(import "http_handler" "log" (func $log (param i32 i32 i32)))
(import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
(import "http_handler" "set_method" (func $set_method (param i32 i32)))
(import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
(import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
(import "http_handler" "get_protocol_version" (func $get_protocol_version (param i32 i32) (result i32)))
(import "http_handler" "get_header_names" (func $get_header_names (param i32 i32 i32) (result i64)))
(import "http_handler" "get_header_values" (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
(import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
(import "http_handler" "add_header_value" (func $add_header_value (param i32 i32 i32 i32 i32)))
(import "http_handler" "remove_header" (func $remove_header (param i32 i32 i32)))
(import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
(import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
(import "http_handler" "get_status_code" (func $get_status_code (result i32)))
(import "http_handler" "set_status_code" (func $set_status_code (param i32)))
(import "http_handler" "get_source_addr" (func $get_source_addr (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
"#;

/// A guest of what it does. A text between «» stands for its address and its length. The first page of the memory is free.
pub(super) struct Guest<'a> {
    pub(super) request: &'a str,
    pub(super) response: &'a str,
    /// Other fields of the module.
    pub(super) more: &'a str,
}

impl Guest<'_> {
    pub(super) fn text(&self) -> String {
        let mut data = String::new();
        let mut at = 65_536;
        let mut place = |text: &str| {
            let mut parts = text.split('«');
            let mut placed = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let (quoted, rest) = part.split_once('»').expect("a text ends");
                write!(placed, "(i32.const {at}) (i32.const {}){rest}", quoted.len()).unwrap();
                writeln!(data, "(data (i32.const {at}) {quoted:?})").unwrap();
                at += quoted.len();
            }
            placed
        };
        let (request, response, more) = (place(self.request), place(self.response), place(self.more));
        format!(
            "(module {IMPORTS} (memory (export \"memory\") 2) {data} {more}
             (func (export \"handle_request\") (result i64) {request})
             (func (export \"handle_response\") (param $ctx i32) (param $is_error i32) {response}))"
        )
    }

    pub(super) fn module(&self) -> Vec<u8> {
        let text = self.text();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub(super) async fn load(&self) -> Wasm {
        self.limited(Limits::default()).await
    }

    pub(super) async fn limited(&self, limits: Limits) -> Wasm {
        started(&self.module(), "", false, limits).await.unwrap()
    }
}

pub(super) fn request_of(request: &str) -> Guest<'_> {
    Guest {
        request,
        response: "",
        more: "",
    }
}

pub(super) async fn started(
    module: &[u8],
    config: &str,
    is_strict: bool,
    limits: Limits,
) -> Result<Wasm, WasmError> {
    let compiled = guest::compile(module)?;
    let shared = Shared::new("guest".to_owned(), config.as_bytes().into(), is_strict, limits);
    Wasm::of(compiled, shared).await
}

/// What came out at the end.
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
}

impl Seen {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) async fn seen(answer: Response<Body>) -> Seen {
    let (parts, body) = answer.into_parts();
    let whole = body.collect().await.unwrap();
    Seen {
        status: parts.status,
        headers: parts.headers,
        trailers: whole.trailers().cloned().unwrap_or_default(),
        body: whole.to_bytes().to_vec(),
    }
}

pub(super) fn call(request: Request<Body>) -> Call {
    let peer: SocketAddr = "192.0.2.7:4711".parse().unwrap();
    Call {
        request,
        peer: Some(peer),
    }
}

/// Shows a request to a guest; if it goes on, `next` answers it.
pub(super) async fn asked<F>(
    wasm: &Wasm,
    request: Request<Body>,
    next: impl FnOnce(Request<Body>) -> F,
) -> Seen
where
    F: Future<Output = Response<Body>>,
{
    let mut call = call(request);
    match wasm.handle(&mut call).await {
        Err(answer) => seen(*answer).await,
        Ok(After::Guest(waiting)) => {
            let answer = next(call.request).await;
            seen(waiting.leave(answer).await).await
        }
        Ok(after) => panic!("{after:?}"),
    }
}

/// The same of a request that is not to go on.
pub(super) async fn answered(wasm: &Wasm, request: Request<Body>) -> Seen {
    asked(
        wasm,
        request,
        |request| async move { panic!("{request:?} went on") },
    )
    .await
}

pub(super) fn get(uri: &str) -> Request<Body> {
    Request::builder().uri(uri).body(Body::empty()).unwrap()
}

/// An answer that says what the request was: method, URI, headers in lines, and the body.
pub(super) async fn echo(request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    let body = body.collect().await.unwrap().to_bytes();
    text.push_str(&String::from_utf8_lossy(&body));
    Response::builder()
        .status(201)
        .header("x-next", "yes")
        .header("content-length", text.len())
        .body(Body::full(text))
        .unwrap()
}
