//! What went out of a request, for as long as it may have to go out again.

use bytes::Bytes;
use http::HeaderMap;

use crate::pump::Piece;
use crate::stream::PieceQueue;

/// Of a longer body nothing is kept.
const MOST: usize = 64 * 1024;

/// The end of a body that was sent, with its trailers if it had some.
#[derive(Debug)]
struct End(Option<HeaderMap>);

/// The beginning of a body that was sent. The peer may refuse a call without having looked at it (RFC 9113, section
/// 8.7); then it can be sent again, if all that went out is here.
#[derive(Debug, Default)]
pub(crate) struct ResendBuffer {
    pieces: PieceQueue,
    length: usize,
    end: Option<End>,
    /// More went out than is kept.
    is_lost: bool,
}

impl ResendBuffer {
    /// Whether a piece of so many bytes is to be kept.
    pub(crate) fn takes(&mut self, length: usize) -> bool {
        self.length = self.length.saturating_add(length);
        if self.length > MOST {
            self.is_lost = true;
            self.pieces.clear();
        }
        !self.is_lost
    }

    /// Keeps a piece that it [takes](Self::takes).
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.pieces.push(piece);
    }

    /// The end went out, with these trailers.
    pub(crate) fn end(&mut self, trailers: Option<HeaderMap>) {
        self.end = Some(End(trailers));
    }

    /// Whether everything that went out is here.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_lost
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.end.is_none()
    }

    /// What went out, to go out again.
    pub(crate) fn take(&mut self) -> Again {
        let kept = std::mem::take(self);
        Again {
            pieces: kept.pieces,
            end: kept.end,
        }
    }
}

/// What goes out again.
pub(crate) struct Again {
    pieces: PieceQueue,
    end: Option<End>,
}

impl Iterator for Again {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let Some(piece) = self.pieces.pop() else {
            return self.end.take().map(|End(trailers)| Piece::End(trailers));
        };
        let is_end = self.pieces.is_empty() && matches!(self.end, Some(End(None)));
        if is_end {
            self.end = None;
        }
        Some(Piece::Data(piece, is_end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of some pieces goes out again: their lengths, and whether the last of them is the end.
    fn again(lengths: &[usize], end: Option<End>) -> Vec<(usize, bool)> {
        let mut kept = ResendBuffer::default();
        for length in lengths {
            if kept.takes(*length) {
                kept.push(Bytes::from(vec![7; *length]));
            }
        }
        if let Some(End(trailers)) = end {
            kept.end(trailers);
        }
        assert_eq!(kept.is_whole(), lengths.iter().sum::<usize>() <= MOST);
        let again = kept.take();
        assert!(kept.is_empty() && kept.is_whole());
        again
            .map(|piece| match piece {
                Piece::Data(data, is_end) => (data.len(), is_end),
                Piece::End(_) => (0, true),
            })
            .collect()
    }

    #[test]
    fn what_went_out_goes_out_again() {
        let end = |trailers| Some(End(trailers));
        for (lengths, end, wanted) in [
            (&[][..], None, &[][..]),
            (&[], end(None), &[(0, true)]),
            (&[3], None, &[(3, false)]),
            (&[3], end(None), &[(3, true)]),
            (&[3, 2000], end(None), &[(3, false), (2000, true)]),
            (&[3], end(Some(HeaderMap::new())), &[(3, false), (0, true)]),
            (&[MOST, 1], None, &[]),
        ] {
            assert_eq!(again(lengths, end), wanted, "{lengths:?}");
        }
    }
}
