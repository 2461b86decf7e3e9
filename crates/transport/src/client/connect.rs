//! Connecting, with the error texts of Go's `net` package.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Socket;

/// A connection that could not be made: `dial tcp 127.0.0.1:1: connect: connection refused`.
#[derive(Clone, Debug, Error)]
#[error("dial tcp {address}: {}", go_words(.source))]
pub struct ConnectError {
    address: String,
    #[source]
    source: Arc<io::Error>,
}

fn go_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Connects to `host:port`, trying every address that the host has.
pub(super) async fn connect(address: &str, limit: Duration) -> Result<Socket, ConnectError> {
    let failed = |source: io::Error| ConnectError {
        address: address.to_owned(),
        source: Arc::new(source),
    };
    let connecting = async {
        // `connect` tries all addresses in turn; a literal address is not looked up.
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        io::Result::Ok(Socket::Tcp(stream))
    };
    match timeout(limit, connecting).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}
