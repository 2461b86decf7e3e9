//! Frames that carry no message: SETTINGS, PING, GOAWAY, `RST_STREAM` and `WINDOW_UPDATE`.

use std::task::Waker;

use super::receive::Breach;
use super::{LEAVING, Role, State};
use crate::error::{Error, Reason, Side};
use crate::frame::{
    self, FrameHead, GREATEST_MAX_FRAME, GREATEST_WINDOW, LEAST_MAX_FRAME, flag, kind, setting, u32_at,
};
use crate::stream::{End, Key};

impl State {
    /// Takes in a frame that is neither DATA nor part of a header block.
    pub(crate) fn receive(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Breach> {
        match head.kind {
            kind::RST_STREAM => self.receive_reset(head.stream, payload),
            kind::SETTINGS => self.receive_settings(head, payload),
            kind::PUSH_PROMISE | kind::CONTINUATION => Err(Reason::PROTOCOL_ERROR),
            kind::PING => self.receive_ping(head, payload),
            kind::GOAWAY => self.receive_go_away(head.stream, payload),
            kind::WINDOW_UPDATE => self.receive_window_update(head.stream, payload),
            kind::PRIORITY if head.stream == 0 => Err(Reason::PROTOCOL_ERROR),
            kind::PRIORITY if payload.len() != 5 => Err(Reason::FRAME_SIZE_ERROR),
            kind::PRIORITY if frame::depends_on(payload, head.stream) => Err(Reason::PROTOCOL_ERROR),
            // Priorities are advice, and unknown frames are to be ignored (RFC 9113, sections 5.3.2 and 5.5).
            _ => Ok(()),
        }
    }

    /// Whether a stream was never used: only such frames may come on it that begin one.
    fn is_idle(&self, id: u32) -> bool {
        let is_own = (id % 2 == 1) == (self.role == Role::Client);
        if is_own {
            id >= self.next_id
        } else {
            self.role == Role::Client || id > self.last_peer_id
        }
    }

    pub(super) fn existing(&self, id: u32) -> Result<Option<Key>, Breach> {
        match self.streams.key(id) {
            Some(key) => Ok(Some(key)),
            // On idle streams these frames break the connection (section 5.1).
            None if id == 0 || self.is_idle(id) => Err(Reason::PROTOCOL_ERROR),
            None => Ok(None),
        }
    }

    fn receive_settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Breach> {
        if head.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(Reason::FRAME_SIZE_ERROR);
            }
            self.own_settings_apply();
            return Ok(());
        }
        self.apply_all(payload)?;
        self.call_next();
        frame::put(self.output.joined(), kind::SETTINGS, flag::ACK, 0, &[]);
        // A peer that takes long frames may want to send some, too.
        if self.peer.max_frame > LEAST_MAX_FRAME as usize {
            self.allow_long_frames();
        }
        Ok(())
    }

    /// What the peer's settings say from now on.
    pub(super) fn apply_all(&mut self, payload: &[u8]) -> Result<(), Breach> {
        let (entries, []) = payload.as_chunks::<6>() else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        if !self.is_greeted {
            self.is_greeted = true;
            // A peer that says nothing sets no limit (section 6.5.2). Until it has spoken there is room for one call.
            self.peer.max_streams = usize::MAX;
        }
        let mut window = self.peer.stream_window;
        for [name_high, name_low, value @ ..] in entries {
            let name = u16::from_be_bytes([*name_high, *name_low]);
            let value = u32::from_be_bytes(*value);
            if name == setting::INITIAL_WINDOW_SIZE {
                window = i64::from(value);
                if window > GREATEST_WINDOW {
                    return Err(Reason::FLOW_CONTROL_ERROR);
                }
            } else {
                self.apply(name, value)?;
            }
        }
        // Once: a frame may have thousands of entries, and there may be thousands of streams.
        self.change_windows(window)
    }

    /// The longest frame that is accepted.
    pub(crate) fn max_frame(&self) -> u32 {
        self.max_frame
    }

    /// Lets a client that uses long frames send them. Others keep to what they know without being told, and need not
    /// be held to more.
    pub(crate) fn allow_long_frames(&mut self) {
        if self.max_frame < self.config.max_frame {
            self.max_frame = self.config.max_frame;
            self.announce(&[(setting::MAX_FRAME_SIZE, self.config.max_frame)]);
        }
    }

    fn apply(&mut self, name: u16, value: u32) -> Result<(), Breach> {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.set_max_table_size(value as usize),
            // Only clients may allow pushes.
            setting::ENABLE_PUSH if value > u32::from(self.role == Role::Server) => {
                return Err(Reason::PROTOCOL_ERROR);
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value as usize,
            setting::MAX_FRAME_SIZE => {
                if !(LEAST_MAX_FRAME..=GREATEST_MAX_FRAME).contains(&value) {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                self.peer.max_frame = value as usize;
            }
            _ => {}
        }
        Ok(())
    }

    /// Streams begin with another window, and those that are there have as much more or less (section 6.9.2).
    fn change_windows(&mut self, window: i64) -> Result<(), Breach> {
        let change = window - std::mem::replace(&mut self.peer.stream_window, window);
        if change == 0 {
            return Ok(());
        }
        self.visit_all()?;
        let mut waiting = Vec::new();
        for (key, stream) in self.streams.iter_mut() {
            let sending = &mut stream.sending;
            // It may fall below zero. Then nothing goes out until updates have made up for it.
            sending.window += change;
            if sending.window > GREATEST_WINDOW {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
            if sending.is_full || !sending.queue.is_empty() {
                waiting.push(key);
            }
        }
        for key in waiting {
            self.list(key);
            self.wake_sender(key);
        }
        Ok(())
    }

    fn receive_ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Breach> {
        if head.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if payload.len() != 8 {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if !head.has(flag::ACK) {
            frame::put(self.output.joined(), kind::PING, flag::ACK, 0, payload);
        } else if self.is_leaving && payload == LEAVING && self.going.is_none() {
            // Frames are answered in order, so the peer has read our first GOAWAY, and begins no further streams.
            let reason = Reason::NO_ERROR;
            frame::put_go_away(self.output.joined(), self.taken_id, reason);
            self.go(Error::GoAway { reason, by: Side::Us });
        }
        Ok(())
    }

    fn receive_go_away(&mut self, stream: u32, payload: &[u8]) -> Result<(), Breach> {
        if stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let (Some(last), Some(code)) = (u32_at(payload, 0), u32_at(payload, 4)) else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        let last = last & (u32::MAX >> 1);
        let error = Error::GoAway {
            reason: Reason::from(code),
            by: Side::Peer,
        };
        // The server did nothing for streams above the last one that it names: their calls may be sent again (section
        // 6.8). A client that says GOAWAY speaks of pushes, of which there are none.
        if self.role == Role::Client {
            self.visit_all()?;
            let untaken: Vec<Key> = self
                .streams
                .iter_mut()
                .filter(|(_, stream)| stream.id > last)
                .map(|(key, _)| key)
                .collect();
            for key in untaken {
                self.break_stream(key, error.clone());
            }
        }
        self.go(error);
        Ok(())
    }

    fn receive_reset(&mut self, id: u32, payload: &[u8]) -> Result<(), Breach> {
        let key = self.existing(id)?;
        let (4, Some(code)) = (payload.len(), u32_at(payload, 0)) else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        let Some(key) = key else { return Ok(()) };
        let reason = Reason::from(code);
        if self.role == Role::Client && reason == Reason::NO_ERROR {
            // A server that has answered in full may say so of a request that it needs no more of: the answer
            // stands (section 8.1).
            if let Some(stream) = self.streams.get(key)
                && stream.receiving.is_ended
                && stream.broken.is_none()
            {
                stream.sending.end = End::Sent;
                stream.sending.waker.take().into_iter().for_each(Waker::wake);
                self.take_queued(key);
                self.settle(key);
                return Ok(());
            }
        }
        // Servers that are at their limit may count calls for a moment whose answers are here already.
        self.hesitates |= self.role == Role::Client && reason == Reason::REFUSED_STREAM;
        let stream = self.streams.get(key).filter(|stream| !stream.is_over());
        let is_unanswered = stream.is_some_and(|stream| stream.sending.end.is_open());
        // Only work that was begun in vain counts. Clients may well give up answers that they have begun to read.
        if is_unanswered && self.role == Role::Server {
            self.churn.resets();
        }
        let is_ended = self
            .streams
            .get(key)
            .is_some_and(|stream| stream.receiving.is_ended);
        // A message that came as a whole may still be read. A part of one is of no use.
        if !is_ended {
            self.take_unread(key);
        }
        self.break_stream(
            key,
            Error::Reset {
                reason,
                by: Side::Peer,
            },
        );
        Ok(())
    }

    fn receive_window_update(&mut self, id: u32, payload: &[u8]) -> Result<(), Breach> {
        let (4, Some(increment)) = (payload.len(), u32_at(payload, 0)) else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        let increment = i64::from(increment & (u32::MAX >> 1));
        // An increment of zero is an error of the stream, or of the connection where it is for that (section 6.9).
        if id == 0 {
            if increment == 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            // Nobody is woken: the task of the connection reads this, and fills the output before it sleeps.
            self.send_window += increment;
            if self.send_window > GREATEST_WINDOW {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
            return Ok(());
        }
        let Some(key) = self.existing(id)? else {
            return Ok(());
        };
        let Some(stream) = self.streams.get(key) else {
            return Ok(());
        };
        stream.sending.window += increment;
        if increment == 0 {
            self.reset(key, Reason::PROTOCOL_ERROR);
        } else if stream.sending.window > GREATEST_WINDOW {
            self.reset(key, Reason::FLOW_CONTROL_ERROR);
        } else {
            self.list(key);
            self.wake_sender(key);
        }
        Ok(())
    }
}
