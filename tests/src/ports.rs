//! Free ports of the loopback interface.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex};

/// Below the ports that Linux gives to outgoing connections, any of which could take a port that is free now.
const RANGE: std::ops::Range<u16> = 11_000..32_000;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that nothing listens on and that no other test of this process was given.
///
/// # Panics
/// When the machine has no free port.
pub fn free_port() -> u16 {
    for _ in 0..1000 {
        let port = fastrand::u16(RANGE);
        let is_new = GIVEN.lock().expect("no test panics here").insert(port);
        if is_new && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port left");
}
