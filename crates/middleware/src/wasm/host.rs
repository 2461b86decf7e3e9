//! The functions of the module `http_handler`: what a guest asks of the host.

use std::borrow::Cow;

use wasmtime::{Caller, Linker, Result};

use super::exchange::{BUFFER_REQUEST, BUFFER_RESPONSE, Kind, name, value};
use super::memory::{put, put_all, read, room, view};
use super::state::{Halt, State};

/// The name of the module.
pub(super) const MODULE: &str = "http_handler";

/// All functions of it.
pub(super) const NAMES: [&str; 19] = [
    "add_header_value",
    "enable_features",
    "get_config",
    "get_header_names",
    "get_header_values",
    "get_method",
    "get_protocol_version",
    "get_source_addr",
    "get_status_code",
    "get_uri",
    "log",
    "log_enabled",
    "read_body",
    "remove_header",
    "set_header_value",
    "set_method",
    "set_status_code",
    "set_uri",
    "write_body",
];

/// The end of a body, in the upper half of what `read_body` answers.
const OVER: u64 = 1 << 32;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    link_host(linker)?;
    link_request(linker)?;
    link_headers(linker)?;
    link_bodies(linker)
}

/// A function that gives the guest bytes, as far as there is room for them.
fn answers(
    linker: &mut Linker<State>,
    name: &str,
    of: for<'a> fn(&'a mut State) -> Result<Cow<'a, [u8]>>,
) -> Result<()> {
    linker.func_wrap(
        MODULE,
        name,
        move |mut caller: Caller<'_, State>, at: u32, limit: u32| -> Result<u32> {
            let (memory, state) = view(&mut caller)?;
            Ok(put(memory, at, limit, &of(state)?)?)
        },
    )?;
    Ok(())
}

fn link_host(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        MODULE,
        "enable_features",
        |mut caller: Caller<'_, State>, features: u32| {
            let state = caller.data_mut();
            if let Some(exchange) = &mut state.exchange {
                exchange.enable(features);
                return exchange.features;
            }
            state.features |= features;
            state.features
        },
    )?;
    answers(linker, "get_config", |state| Ok(state.shared.config[..].into()))?;
    linker.func_wrap(MODULE, "log_enabled", |level: u32| u32::from(is_logged(level)))?;
    linker.func_wrap(
        MODULE,
        "log",
        |mut caller: Caller<'_, State>, level: u32, at: u32, length: u32| -> Result<()> {
            if is_logged(level) {
                let (memory, state) = view(&mut caller)?;
                let message = read(memory, "message", at, length)?;
                log(level, &state.shared.component, &String::from_utf8_lossy(message));
            }
            Ok(())
        },
    )?;
    Ok(())
}

fn is_logged(level: u32) -> bool {
    match level.cast_signed() {
        -1 => tracing::enabled!(target: "dapr.runtime", tracing::Level::DEBUG),
        0 => tracing::enabled!(target: "dapr.runtime", tracing::Level::INFO),
        1 => tracing::enabled!(target: "dapr.runtime", tracing::Level::WARN),
        2 => tracing::enabled!(target: "dapr.runtime", tracing::Level::ERROR),
        _ => false,
    }
}

fn log(level: u32, component: &str, message: &str) {
    match level.cast_signed() {
        -1 => tracing::debug!(target: "dapr.runtime", component, "{message}"),
        0 => tracing::info!(target: "dapr.runtime", component, "{message}"),
        1 => tracing::warn!(target: "dapr.runtime", component, "{message}"),
        _ => tracing::error!(target: "dapr.runtime", component, "{message}"),
    }
}

fn link_request(linker: &mut Linker<State>) -> Result<()> {
    answers(linker, "get_method", |state| {
        Ok(state.exchange()?.request.parts.method.as_str().as_bytes().into())
    })?;
    linker.func_wrap(
        MODULE,
        "set_method",
        |mut caller: Caller<'_, State>, at: u32, length: u32| -> Result<()> {
            let (memory, state) = view(&mut caller)?;
            let exchange = state.exchange()?;
            exchange.before_next("set", "method")?;
            if length == 0 {
                return Err(Halt::Refused("HTTP method cannot be empty".to_owned()).into());
            }
            Ok(exchange.request.set_method(read(memory, "method", at, length)?)?)
        },
    )?;
    answers(linker, "get_uri", |state| Ok(state.exchange()?.request.uri()))?;
    linker.func_wrap(
        MODULE,
        "set_uri",
        |mut caller: Caller<'_, State>, at: u32, length: u32| -> Result<()> {
            let (memory, state) = view(&mut caller)?;
            let exchange = state.exchange()?;
            exchange.before_next("set", "uri")?;
            Ok(exchange.request.set_uri(read(memory, "uri", at, length)?)?)
        },
    )?;
    answers(linker, "get_protocol_version", |state| {
        Ok(state.exchange()?.request.version().as_bytes().into())
    })?;
    answers(linker, "get_source_addr", |state| {
        Ok(state.exchange()?.request.source().into_bytes().into())
    })?;
    Ok(())
}

fn link_headers(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(MODULE, "get_header_names", header_names)?;
    linker.func_wrap(MODULE, "get_header_values", header_values)?;
    linker.func_wrap(
        MODULE,
        "set_header_value",
        |caller: Caller<'_, State>, kind: u32, name: u32, name_length: u32, value: u32, value_length: u32| {
            change(
                caller,
                "set",
                kind,
                (name, name_length),
                Some((value, value_length)),
            )
        },
    )?;
    linker.func_wrap(
        MODULE,
        "add_header_value",
        |caller: Caller<'_, State>, kind: u32, name: u32, name_length: u32, value: u32, value_length: u32| {
            change(
                caller,
                "add",
                kind,
                (name, name_length),
                Some((value, value_length)),
            )
        },
    )?;
    linker.func_wrap(
        MODULE,
        "remove_header",
        |caller: Caller<'_, State>, kind: u32, name: u32, name_length: u32| {
            change(caller, "remove", kind, (name, name_length), None)
        },
    )?;
    Ok(())
}

/// Names of headers, each once, in order.
fn header_names(mut caller: Caller<'_, State>, kind: u32, at: u32, limit: u32) -> Result<u64> {
    let (memory, state) = view(&mut caller)?;
    let exchange = state.exchange()?;
    let kind = Kind::new(kind)?;
    let headers = exchange.headers(kind);
    let mut names: Vec<&[u8]> = headers.keys().map(|name| name.as_str().as_bytes()).collect();
    if kind == Kind::Request && exchange.request.host().is_some() {
        names.push(b"host");
    }
    names.sort_unstable();
    Ok(put_all(memory, at, limit, || names.iter().copied())?)
}

fn header_values(
    mut caller: Caller<'_, State>,
    kind: u32,
    at: u32,
    length: u32,
    to: u32,
    limit: u32,
) -> Result<u64> {
    let (memory, state) = view(&mut caller)?;
    let exchange = state.exchange()?;
    let asked = read(memory, "name", at, named(length)?)?;
    let kind = Kind::new(kind)?;
    if kind == Kind::Request
        && asked.eq_ignore_ascii_case(b"host")
        && let Some(host) = exchange.request.host()
    {
        return Ok(put_all(memory, to, limit, || [host.as_bytes()].into_iter())?);
    }
    // What is no name is the name of no header.
    let Ok(asked) = name(asked) else {
        return Ok(0);
    };
    let values = exchange.headers(kind).get_all(asked);
    Ok(put_all(memory, to, limit, || values.iter().map(AsRef::as_ref))?)
}

fn change(
    mut caller: Caller<'_, State>,
    verb: &str,
    kind: u32,
    (at, length): (u32, u32),
    new: Option<(u32, u32)>,
) -> Result<()> {
    let (memory, state) = view(&mut caller)?;
    let length = named(length)?;
    let headers = state.exchange()?.headers_mut(Kind::new(kind)?, verb)?;
    let name = name(read(memory, "name", at, length)?)?;
    let Some((at, length)) = new else {
        headers.remove(name);
        return Ok(());
    };
    let value = value(&name, read(memory, "value", at, length)?)?;
    let full = |_| Halt::Refused("there are too many headers".to_owned());
    if verb == "add" {
        headers.try_append(name, value).map_err(full)?;
    } else {
        headers.try_insert(name, value).map_err(full)?;
    }
    Ok(())
}

fn named(length: u32) -> Result<u32, Halt> {
    if length == 0 {
        return Err(Halt::Refused("HTTP header name cannot be empty".to_owned()));
    }
    Ok(length)
}

fn link_bodies(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        MODULE,
        "get_status_code",
        |mut caller: Caller<'_, State>| -> Result<u32> {
            Ok(caller.data_mut().exchange()?.response.status()?)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "set_status_code",
        |mut caller: Caller<'_, State>, code: u32| -> Result<()> {
            let exchange = caller.data_mut().exchange()?;
            exchange.before_next_or_buffered("set", "status code")?;
            Ok(exchange.response.set_status(code)?)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "write_body",
        |mut caller: Caller<'_, State>, kind: u32, at: u32, length: u32| -> Result<()> {
            let (memory, state) = view(&mut caller)?;
            let bound = state.shared.limits.body;
            let exchange = state.exchange()?;
            match kind {
                0 => exchange.before_next("write", "request body")?,
                1 => exchange.before_next_or(BUFFER_RESPONSE, "write", "response body")?,
                other => return Err(unsupported(other).into()),
            }
            let data = read(memory, "body", at, length)?;
            if kind == 0 {
                exchange.request.written.write(data, bound)?;
            } else {
                exchange.response.write(data, bound)?;
            }
            Ok(())
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "read_body",
        |caller: Caller<'_, State>, (kind, at, limit): (u32, u32, u32)| {
            Box::new(read_body(caller, kind, at, limit))
        },
    )?;
    Ok(())
}

/// Reads a body, and waits for as much of it as the guest has room for. Other calls go on meanwhile.
async fn read_body(mut caller: Caller<'_, State>, kind: u32, at: u32, limit: u32) -> Result<u64> {
    let (memory, state) = view(&mut caller)?;
    let bound = state.shared.limits.body;
    let exchange = state.exchange()?;
    match kind {
        0 => exchange.before_next_or(BUFFER_REQUEST, "read", "request body")?,
        1 => exchange.before_next_or(BUFFER_RESPONSE, "read", "response body")?,
        other => return Err(unsupported(other).into()),
    }
    if limit == 0 {
        return Err(Halt::Refused("buf_limit==0 reading body".to_owned()).into());
    }
    // There must be room before anything is taken out of the body.
    let length = room(memory, "body", at, limit)?.len();
    let (data, is_over) = if kind == 1 {
        exchange.response.read(length)?
    } else if exchange.request.written.is_begun() && !exchange.request.incoming.is_read() {
        exchange.request.written.read(length)
    } else {
        let is_kept = exchange.request.is_kept;
        exchange.request.incoming.read(length, is_kept, bound).await?
    };
    let (memory, _) = view(&mut caller)?;
    let read = u64::from(put(memory, at, limit, &data)?);
    Ok(if is_over { OVER | read } else { read })
}

fn unsupported(kind: u32) -> Halt {
    Halt::Refused(format!("unsupported body kind: {kind}"))
}
