//! One of the addresses that a host has, whichever is connected first (RFC 8305, "happy eyeballs").
//!
//! An address that does not answer must not cost the call all of its time while the next one works: after a moment the
//! next one is tried beside it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

/// How long one address is tried before the next one is tried beside it (RFC 8305, section 5).
const DELAY: Duration = Duration::from_millis(250);
/// How many addresses of a host are tried.
pub(super) const MOST_ADDRESSES: usize = 16;

/// The addresses as they are tried: those of the two families in turn, beginning with that of the first (RFC 8305,
/// section 4), and not more than is worth trying.
pub(super) fn in_order(found: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let found: Vec<SocketAddr> = found.into_iter().collect();
    let is_first = |address: &SocketAddr| address.is_ipv6() == found[0].is_ipv6();
    let mut first = found.iter().filter(|address| is_first(address));
    let mut second = found.iter().filter(|address| !is_first(address));
    let mut ordered = Vec::new();
    while ordered.len() < MOST_ADDRESSES {
        match (first.next(), second.next()) {
            (None, None) => break,
            (one, other) => ordered.extend(one.into_iter().chain(other)),
        }
    }
    ordered.truncate(MOST_ADDRESSES);
    ordered
}

/// The first connection that comes about; the attempts that are left are given up. A failure is that of the first
/// address, of which `failed` is told.
pub(super) async fn race<T, F>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
    mut failed: impl FnMut(SocketAddr, io::Error),
) -> Option<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut left = addresses.iter().copied();
    let mut trying = FuturesUnordered::new();
    let begin = |address| {
        let connecting = connect(address);
        async move { (address, connecting.await) }
    };
    loop {
        let Some(next) = left.next() else {
            // Nothing is left but to wait for those that are tried.
            while let Some((address, tried)) = trying.next().await {
                match tried {
                    Ok(connected) => return Some(connected),
                    Err(error) => failed(address, error),
                }
            }
            return None;
        };
        trying.push(begin(next));
        match timeout(DELAY, trying.next()).await {
            Ok(Some((_, Ok(connected)))) => return Some(connected),
            Ok(Some((address, Err(error)))) => failed(address, error),
            Ok(None) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::{Instant, sleep};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let [one, two, three] = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"];
        let [six, seven] = ["[::1]:1", "[::2]:1"];
        for (found, wanted) in [
            (&[][..], &[][..]),
            (&[one], &[one]),
            (&[one, two, six, seven], &[one, six, two, seven]),
            (&[six, seven, one, two, three], &[six, one, seven, two, three]),
            (&[six, seven], &[six, seven]),
        ] {
            assert_eq!(in_order(addresses(found)), addresses(wanted), "{found:?}");
        }
        let many = vec![one; 1000];
        assert_eq!(in_order(addresses(&many)).len(), MOST_ADDRESSES);
    }

    /// Ports tell what becomes of an attempt: how many milliseconds it takes, and whether it fails.
    async fn scripted(address: SocketAddr) -> io::Result<SocketAddr> {
        sleep(Duration::from_millis(address.port().into())).await;
        if address.ip().is_loopback() {
            Ok(address)
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_wins() {
        for (tried, winner, after, failures) in [
            (&["127.0.0.1:10"][..], Some("127.0.0.1:10"), 10, 0),
            // A failure is no reason to wait.
            (
                &["10.0.0.1:1", "10.0.0.2:1", "127.0.0.1:3"],
                Some("127.0.0.1:3"),
                5,
                2,
            ),
            // The second one is tried beside the first, and may be the first to answer.
            (&["127.0.0.1:9000", "127.0.0.2:10"], Some("127.0.0.2:10"), 260, 0),
            (
                &["127.0.0.1:300", "127.0.0.2:9000"],
                Some("127.0.0.1:300"),
                300,
                0,
            ),
            (&["10.0.0.1:9000", "10.0.0.2:10"], None, 9000, 2),
            (&[], None, 0, 0),
        ] {
            let (begun, told) = (Instant::now(), Mutex::new(0));
            let won = race(&addresses(tried), scripted, |_, _| *told.lock().unwrap() += 1).await;
            assert_eq!(won, winner.map(|winner| winner.parse().unwrap()), "{tried:?}");
            let wanted = Duration::from_millis(after);
            let slack = Duration::from_millis(5);
            assert!((wanted..wanted + slack).contains(&begun.elapsed()), "{tried:?}");
            assert_eq!(*told.lock().unwrap(), failures, "{tried:?}");
        }
    }
}
