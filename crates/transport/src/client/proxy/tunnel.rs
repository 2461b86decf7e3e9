//! The way through a proxy to somebody behind it.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_socks::tcp::Socks5Stream;

use super::{Kind, Proxy};
use crate::Socket;
use crate::client::connect::{ConnectError, connect};
use crate::tls;

/// The longest head of a proxy's answer, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;
/// The most headers of it.
const MOST_HEADERS: usize = 100;

/// A connection through a proxy to `target` (`host:port`). For a target in clear text an HTTP proxy needs no tunnel:
/// it takes the request itself (RFC 9112, section 3.2.2). The caller bounds the time.
pub(in crate::client) async fn pass(
    proxy: &Proxy,
    target: &str,
    is_clear: bool,
    limit: std::time::Duration,
) -> Result<Socket, ConnectError> {
    let failed = |text: String| ConnectError::Proxy(format!("proxyconnect tcp: {text}"));
    let address = proxy.0.address.as_str();
    let mut socket = connect(address, limit)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if let Some(tls) = &proxy.0.tls {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        socket = tls
            .connect(socket, host)
            .await
            .map_err(|error| failed(tls::go_words(&error)))?;
    }
    match proxy.0.kind {
        Kind::Socks => socks(proxy, socket, target)
            .await
            .map_err(|error| ConnectError::Proxy(format!("socks connect tcp {address}->{target}: {error}"))),
        Kind::Http | Kind::Https if is_clear => Ok(socket),
        Kind::Http | Kind::Https => match tunnel(proxy, &mut socket, target).await {
            Ok(None) => Ok(socket),
            Ok(Some(answer)) => Err(failed(format!(
                "the proxy {proxy} does not connect to {target}: {answer}"
            ))),
            Err(error) => {
                let words = tls::go_words(&error);
                Err(failed(format!(
                    "the proxy {proxy} gives no answer about {target}: {words}"
                )))
            }
        },
    }
}

async fn socks(proxy: &Proxy, socket: Socket, target: &str) -> Result<Socket, tokio_socks::Error> {
    let stream = match &proxy.0.credentials {
        None => Socks5Stream::connect_with_socket(socket, target).await?,
        Some((name, password)) => {
            Socks5Stream::connect_with_password_and_socket(socket, target, name, password).await?
        }
    };
    Ok(stream.into_inner())
}

/// Asks for a tunnel (RFC 9110, section 9.3.6); what the proxy answers if it is anything but yes.
async fn tunnel(proxy: &Proxy, socket: &mut Socket, target: &str) -> io::Result<Option<String>> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    socket.write_all(&request).await?;
    socket.flush().await?;
    let mut head = Vec::with_capacity(512);
    loop {
        if head.len() > LONGEST_HEAD {
            return Err(io::Error::other("the head of its answer is too long"));
        }
        if socket.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer
            .parse(&head)
            .map_err(|error| io::Error::other(format!("malformed HTTP response: {error}")))?;
        let httparse::Status::Complete(length) = parsed else {
            continue;
        };
        let code = answer.code.unwrap_or_default();
        if !(200..300).contains(&code) {
            let reason = answer.reason.unwrap_or_default();
            return Ok(Some(format!("{code} {reason}").trim_end().to_owned()));
        }
        // Whoever is behind the proxy waits for our hello, so these would be bytes of the proxy's own.
        return if head.len() == length {
            Ok(None)
        } else {
            Err(io::Error::other("it says more than it was asked"))
        };
    }
}
