//! A network that parts: what stands between the sidecar of a caller and that of an instance.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A relay to a port of the loopback interface. While it is cut nothing goes through in either direction, and nobody is
/// told: connections stay, and new ones are made without an answer ever coming.
pub(crate) struct Link {
    pub(crate) port: u16,
    is_cut: watch::Sender<bool>,
    relay: JoinHandle<()>,
}

impl Link {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (is_cut, state) = watch::channel(false);
        let own = listener.local_addr().expect("a port").port();
        let relay = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(pass(socket, port, state.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            port: own,
            is_cut,
            relay,
        }
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn pass(near: TcpStream, port: u16, mut state: watch::Receiver<bool>) {
    if state.wait_for(|is_cut| !is_cut).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    for socket in [&near, &far] {
        let _ = socket.set_nodelay(true);
    }
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    // A connection that ends on one side ends on the other.
    tokio::select! {
        () = copy(from_near, to_far, state.clone()) => {}
        () = copy(from_far, to_near, state) => {}
    }
}

/// Passes on what comes, as long as the link is whole. What comes while it is cut is there when it is whole again, as
/// with TCP, which sends it anew.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        let is_whole = state.wait_for(|is_cut| !is_cut).await.is_ok();
        if length == 0 || !is_whole || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
