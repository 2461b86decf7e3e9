//! A hop that only moves bytes: what two more sockets and two more wake-ups cost a call, whatever is done with it.
//!
//! Only a proxy that lets calls of several connections share one can cost less. It runs in a process of its own, with one
//! thread: `bench mover LISTEN-PORT NEXT-PORT`.

use std::io;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// How much is read at once: what calls at the same time send on one connection fits.
const BUFFER: usize = 64 * 1024;

/// Moves bytes until it is killed.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let port = |text: &String| {
        text.parse::<u16>()
            .map_err(|_| format!("mover: {text:?} is no port"))
    };
    let [listen, next] = args else {
        return Err("mover: LISTEN-PORT NEXT-PORT".to_owned());
    };
    let (listen, next) = (port(listen)?, port(next)?);
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .and_then(|runtime| runtime.block_on(serve(listen, next)))
        .map_err(|error| format!("mover: {error}"))
}

async fn serve(listen: u16, next: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", listen)).await?;
    loop {
        let (incoming, _) = listener.accept().await?;
        // A client that goes away is no news.
        tokio::spawn(connect_through(incoming, next));
    }
}

async fn connect_through(mut incoming: TcpStream, next: u16) -> io::Result<()> {
    let mut outgoing = TcpStream::connect(("127.0.0.1", next)).await?;
    incoming.set_nodelay(true)?;
    outgoing.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut incoming, &mut outgoing, BUFFER, BUFFER).await?;
    Ok(())
}
