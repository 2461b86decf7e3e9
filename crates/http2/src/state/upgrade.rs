//! Connections that began as HTTP/1.1 (RFC 7540, section 3.2).

use super::State;
use super::receive::Breach;
use crate::stream::Key;

impl State {
    /// Begins with the request that asked for HTTP/2: it is stream 1, whose half of the client is over. `settings` are
    /// what stood in its `HTTP2-Settings`, and are not acknowledged.
    pub(crate) fn begin_upgraded(&mut self, settings: &[u8]) -> Result<Key, Breach> {
        self.apply_all(settings)?;
        self.last_peer_id = 1;
        self.taken_id = 1;
        let key = self.insert(1);
        if let Some(stream) = self.streams.get(key) {
            stream.receiving.has_head = true;
            stream.receiving.is_ended = true;
        }
        Ok(key)
    }
}
