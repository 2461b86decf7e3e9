//! Frames of HTTP/2 between sidecars and for gRPC. Whatever a peer sends, a connection ends when the peer does, without a
//! panic, and says no more than what came can account for: the doors of the crate see to that.

use bolero::check;

#[test]
fn what_a_client_sends() {
    check!().for_each(http2::fuzz::server);
}

#[test]
fn what_a_server_sends() {
    check!().for_each(http2::fuzz::client);
}

/// Bytes of any kind rarely make a frame. These become frames whose heads are in order, behind the SETTINGS with which a
/// connection begins (the first byte asks for those).
fn after_settings(bytes: &[u8]) -> Vec<u8> {
    [vec![0], http2::fuzz::frames(bytes)].concat()
}

#[test]
fn frames_that_a_client_sends() {
    check!().for_each(|bytes| http2::fuzz::server(&after_settings(bytes)));
}

#[test]
fn frames_that_a_server_sends() {
    check!().for_each(|bytes| http2::fuzz::client(&after_settings(bytes)));
}
