//! The head of a request, byte by byte, before hyper reads it.

use std::ops::Range;

/// The longest name that is looked for, with its colon.
const LONGEST: usize = 18;
/// What a line of a head without any other coding adds.
const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

/// Something that hyper is to read in place of what the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// The byte at this place as an escape: a URI has none of its kind.
    Escape(usize),
    /// One more line before this place.
    Chunked(usize),
}

/// What a look at a piece of a head found.
#[derive(Debug, Default)]
pub(super) struct HeadEdits {
    pub(super) edits: Vec<Edit>,
    /// Where the query of the target stands, if all of the target is in this piece and some of the query is edited.
    pub(super) query: Option<Range<usize>>,
}

/// Where in a head the scanner is.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The first bytes of the line, lower-cased; enough for the longest name.
    start: [u8; LONGEST],
    len: usize,
    lines: u32,
    /// How many blanks the request line had so far: the target stands after the first.
    blanks: u32,
    is_in_query: bool,
    value: Value,
    /// A `Content-Length` went by.
    pub(super) content_length: bool,
    /// The head went by.
    pub(super) complete: bool,
}

/// The last member of a list in a header line.
#[derive(Debug, Default)]
struct Value {
    member: [u8; 7],
    len: usize,
    has_blank: bool,
}

impl Value {
    fn feed(&mut self, byte: u8) {
        match byte {
            b',' => *self = Self::default(),
            b' ' | b'\t' | b'\r' => self.has_blank |= self.len > 0,
            other => {
                // Something after a blank is another word, and then it is none that is looked for.
                self.len += if self.has_blank { self.member.len() } else { 0 };
                if let Some(slot) = self.member.get_mut(self.len) {
                    *slot = other.to_ascii_lowercase();
                }
                self.len += 1;
            }
        }
    }

    fn is_chunked(&self) -> bool {
        self.len == self.member.len() && &self.member == b"chunked"
    }
}

impl Scan {
    /// Nothing more is looked for.
    pub(super) fn blind() -> Self {
        Self {
            complete: true,
            ..Self::default()
        }
    }

    /// Reads on; returns how many bytes belong to the head, and puts in what must be read otherwise.
    pub(super) fn feed(&mut self, bytes: &[u8], found: &mut HeadEdits) -> usize {
        let mut target = self.blanks == 1 && self.lines == 0;
        let mut target_begins = None;
        let edits = &mut found.edits;
        let mut index = 0;
        while let Some(byte) = bytes.get(index) {
            if let Some(length) = self.uninteresting(&bytes[index..]) {
                self.lines += 1;
                index += length;
                continue;
            }
            if target {
                target = self.feed_target(*byte, index, edits);
                if !target && let Some(begin) = target_begins {
                    keep_text(&bytes[begin..index], begin, edits);
                    found.query = edited_query(&bytes[begin..index], begin, edits);
                }
            }
            match byte {
                b'\n' => {
                    if self.ends_head() {
                        self.complete = true;
                        return index + 1;
                    }
                    if self.is_uncoded() {
                        edits.push(Edit::Chunked(index + 1));
                    }
                    self.lines += u32::from(self.len > 0);
                    self.len = 0;
                    self.value = Value::default();
                }
                b'\r' => {}
                other => {
                    if let Some(slot) = self.start.get_mut(self.len) {
                        *slot = other.to_ascii_lowercase();
                    } else if self.is_coding() {
                        self.value.feed(*other);
                    }
                    self.len += 1;
                    self.content_length |= self.len == 15 && self.start.starts_with(b"content-length:");
                    if self.lines == 0 && *other == b' ' {
                        self.blanks += 1;
                        target = self.blanks == 1;
                        target_begins = target.then_some(index + 1);
                    }
                }
            }
            index += 1;
        }
        bytes.len()
    }

    /// How long the line is that begins here, if all of it is here and nothing is to be done about it. Most are: to look
    /// at each of their bytes would take longer than hyper takes to read them.
    fn uninteresting(&self, bytes: &[u8]) -> Option<usize> {
        let is_header = self.lines > 0 && self.len == 0;
        // The first letters of what is looked for; an end of a line may be that of the head.
        if !is_header || matches!(bytes.first()?, b'c' | b'C' | b't' | b'T' | b'\r' | b'\n') {
            return None;
        }
        memchr::memchr(b'\n', bytes).map(|end| end + 1)
    }

    /// A byte that may be one of the target; whether it is.
    fn feed_target(&mut self, byte: u8, index: usize, edits: &mut Vec<Edit>) -> bool {
        let is_odd = match byte {
            b' ' | b'\r' | b'\n' => return false,
            b'?' => {
                self.is_in_query = true;
                false
            }
            b'"' | b'<' | b'>' | 0x80.. => true,
            b'`' => !self.is_in_query,
            _ => false,
        };
        if is_odd {
            edits.push(Edit::Escape(index));
        }
        true
    }

    fn is_coding(&self) -> bool {
        self.lines > 0 && &self.start == b"transfer-encoding:"
    }

    /// Whether the line that ends here names a coding without chunks. hyper refuses such a request by itself, with 400
    /// and no word. With chunks it leaves the refusal to us.
    fn is_uncoded(&self) -> bool {
        self.len >= LONGEST && self.is_coding() && !self.value.is_chunked()
    }

    /// Whether an empty line ends the head; empty lines before the request line do not.
    fn ends_head(&self) -> bool {
        self.len == 0 && self.lines > 0
    }
}

/// What is not ASCII stays as it is in a target that is a text.
fn keep_text(target: &[u8], begin: usize, edits: &mut Vec<Edit>) {
    if !target.is_ascii() && std::str::from_utf8(target).is_ok() {
        edits.retain(
            |edit| !matches!(edit, Edit::Escape(at) if *at >= begin && !target[*at - begin].is_ascii()),
        );
    }
}

/// Where the query of a target stands that has escapes now.
fn edited_query(target: &[u8], begin: usize, edits: &[Edit]) -> Option<Range<usize>> {
    let query = target.iter().position(|byte| *byte == b'?')? + 1;
    let length = target[query..].iter().position(|byte| *byte == b'#');
    let query = begin + query..begin + length.map_or(target.len(), |length| query + length);
    let is_in = |edit: &Edit| matches!(edit, Edit::Escape(at) if query.contains(at));
    edits.iter().any(is_in).then_some(query)
}

/// What is to be read in place of `bytes`.
pub(super) fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + edits.len() * CHUNKED.len());
    let mut done = 0;
    for edit in edits {
        let (Edit::Escape(at) | Edit::Chunked(at)) = *edit;
        out.extend_from_slice(&bytes[done..at]);
        done = at;
        match edit {
            Edit::Chunked(_) => out.extend_from_slice(CHUNKED),
            Edit::Escape(_) => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
                out.extend([b'%', digit(bytes[at] >> 4), digit(bytes[at])]);
                done += 1;
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper reads of a head that comes in pieces.
    fn read(pieces: &[&[u8]]) -> Vec<u8> {
        let mut scan = Scan::default();
        let mut out = Vec::new();
        for piece in pieces {
            let mut found = HeadEdits::default();
            if !scan.complete {
                scan.feed(piece, &mut found);
            }
            out.extend(edited(piece, &found.edits));
        }
        out
    }

    #[track_caller]
    fn check(head: impl AsRef<[u8]>, wanted: impl AsRef<[u8]>) {
        let (head, wanted) = (head.as_ref(), wanted.as_ref());
        let shown = String::from_utf8_lossy(&read(&[head])).into_owned();
        assert_eq!(shown, String::from_utf8_lossy(wanted));
        if head.is_ascii() {
            for at in 0..head.len() {
                assert_eq!(read(&[&head[..at], &head[at..]]), wanted, "{at}");
            }
        }
    }

    #[test]
    fn targets() {
        for (target, wanted) in [
            (&b"/a?b=c"[..], &b"/a?b=c"[..]),
            (b"/a\"<>`?\"<>`", b"/a%22%3C%3E%60?%22%3C%3E`"),
            (b"/a{}|\\^?{}|\\^", b"/a{}|\\^?{}|\\^"),
            (b"http://x/<a>", b"http://x/%3Ca%3E"),
            (b"/caf\xc3\xa9?<\xc3\xa9>", b"/caf\xc3\xa9?%3C\xc3\xa9%3E"),
            (b"/caf\xe9?\xc3\xa9", b"/caf%E9?%C3%A9"),
        ] {
            let head = |target: &[u8]| [b"GET ", target, b" HTTP/1.1\r\nHost: <\"`>\r\n\r\n"].concat();
            check(head(target), head(wanted));
            let bare = |target: &[u8]| [b"\r\n\nGET ", target, b" HTTP/1.1\nHost: x\n\n"].concat();
            check(bare(target), bare(wanted));
        }
        // Text in pieces is escaped, since its end is not seen.
        let pieces: [&[u8]; 2] = [b"GET /\xc3", b"\xa9 HTTP/1.1\r\n"];
        assert_eq!(read(&pieces), b"GET /%C3%A9 HTTP/1.1\r\n");
    }

    #[test]
    fn queries_that_are_edited() {
        for (target, wanted) in [
            (&b"/a?b=<c>"[..], Some(&b"b=<c>"[..])),
            (b"/a?<#d", Some(b"<")),
            (b"/a?\xe9", Some(b"\xe9")),
            (b"/<a>?b=c", None),
            (b"/a?b#<", None),
            (b"/a?\xc3\xa9", None),
            (b"/a", None),
        ] {
            let head = [b"GET ", target, b" HTTP/1.1\r\n"].concat();
            let mut found = HeadEdits::default();
            Scan::default().feed(&head, &mut found);
            assert_eq!(found.query.map(|query| &head[query]), wanted, "{target:?}");
        }
    }

    #[test]
    fn what_follows_the_head_is_the_body() {
        let head = "POST / HTTP/1.1\r\nHost: x\r\n\r\n";
        check(
            format!("{head}GET /<> HTTP/1.1\r\n"),
            format!("{head}GET /<> HTTP/1.1\r\n"),
        );
    }

    #[test]
    fn codings() {
        for (line, is_uncoded) in [
            ("Transfer-Encoding: chunked", false),
            ("Transfer-Encoding:chunked ", false),
            ("TRANSFER-ENCODING: gzip,\tChunked", false),
            ("Transfer-Encoding: gzip", true),
            ("Transfer-Encoding: chunked, gzip", true),
            ("Transfer-Encoding: xchunked", true),
            ("Transfer-Encoding: chunkedx", true),
            ("Transfer-Encoding: x chunked", true),
            ("Transfer-Encoding: chunked x", true),
            ("Transfer-Encoding: identity", true),
            ("Transfer-Encoding:", true),
            ("X-Transfer-Encoding: gzip", false),
            ("Transfer-Encodings: gzip", false),
        ] {
            let more = if is_uncoded {
                "transfer-encoding: chunked\r\n"
            } else {
                ""
            };
            check(
                format!("POST / HTTP/1.1\r\n{line}\r\nHost: x\r\n\r\n"),
                format!("POST / HTTP/1.1\r\n{line}\r\n{more}Host: x\r\n\r\n"),
            );
        }
    }
}
