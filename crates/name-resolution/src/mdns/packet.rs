//! The part of DNS that mDNS between sidecars needs (RFC 1035, section 4; RFC 6762).
//!
//! Names are texts with a dot after each label. The reader takes nothing for granted: every length is checked,
//! compression pointers only lead backwards and not for ever, and counts do not reserve memory.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) const PTR: u16 = 12;
pub(super) const TXT: u16 = 16;
const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const IN: u16 = 1;
/// The top bit of a class: "unicast answer, please" in a question, "forget older ones" in a record.
const TOP: u16 = 0x8000;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Ptr(String),
    Srv { port: u16, target: String },
    Txt(Vec<Vec<u8>>),
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Other,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) flush: bool,
    pub(super) ttl: u32,
    pub(super) data: Data,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) wants_unicast: bool,
}

/// A packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) questions: Vec<Question>,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

impl Packet {
    /// Whether this is a response.
    pub(super) fn is_response(&self) -> bool {
        self.flags & TOP != 0
    }

    /// All records, whatever section they stand in.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.answers.iter().chain(&self.authority).chain(&self.additional)
    }

    /// Reads a packet; `None` for what is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let mut packet = Self {
            id,
            flags,
            ..Self::default()
        };
        for _ in 0..counts[0] {
            let name = reader.name()?;
            reader.u16()?;
            packet.questions.push(Question {
                name,
                wants_unicast: reader.u16()? & TOP != 0,
            });
        }
        for (count, section) in
            counts[1..]
                .iter()
                .zip([&mut packet.answers, &mut packet.authority, &mut packet.additional])
        {
            for _ in 0..*count {
                section.push(reader.record()?);
            }
        }
        Some(packet)
    }

    /// Writes a packet. Names are compressed unless the packet must be plain; the target of a SRV record never is.
    pub(super) fn write(&self, is_compressed: bool) -> Option<Vec<u8>> {
        let mut writer = Writer {
            bytes: Vec::with_capacity(256),
            names: Vec::new(),
            is_compressed,
        };
        for number in [
            self.id,
            self.flags,
            self.questions.len() as u16,
            self.answers.len() as u16,
            self.authority.len() as u16,
            self.additional.len() as u16,
        ] {
            writer.u16(number);
        }
        for question in &self.questions {
            writer.name(&question.name, is_compressed)?;
            writer.u16(PTR);
            writer.u16(if question.wants_unicast { IN | TOP } else { IN });
        }
        for record in self.records() {
            writer.record(record)?;
        }
        Some(writer.bytes)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let piece = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(piece)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn name(&mut self) -> Option<String> {
        let mut name = Vec::new();
        let mut at = self.at;
        let mut end = None;
        let mut jumps = 0;
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length {
                0 => {
                    at += 1;
                    break;
                }
                1..=63 => {
                    name.extend_from_slice(self.bytes.get(at + 1..at + 1 + length)?);
                    name.push(b'.');
                    at += 1 + length;
                }
                0xc0.. => {
                    let target = (length & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    end.get_or_insert(at + 2);
                    jumps += 1;
                    if target >= at || jumps > 32 {
                        return None;
                    }
                    at = target;
                }
                _ => return None,
            }
            if name.len() > 255 {
                return None;
            }
        }
        self.at = end.unwrap_or(at);
        String::from_utf8(name).ok()
    }

    fn record(&mut self) -> Option<Record> {
        let name = self.name()?;
        let kind = self.u16()?;
        let flush = self.u16()? & TOP != 0;
        let ttl = self.u32()?;
        let length = usize::from(self.u16()?);
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len())?;
        let data = match kind {
            PTR => Data::Ptr(self.name()?),
            SRV => {
                self.take(4)?;
                Data::Srv {
                    port: self.u16()?,
                    target: self.name()?,
                }
            }
            TXT => {
                let mut texts = Vec::new();
                while self.at < end {
                    let length = usize::from(self.take(1)?[0]);
                    texts.push(self.take(length)?.to_vec());
                }
                Data::Txt(texts)
            }
            A if length == 4 => Data::A(Ipv4Addr::from(self.u32()?)),
            AAAA if length == 16 => {
                let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
                Data::Aaaa(octets.into())
            }
            _ => Data::Other,
        };
        if self.at > end {
            return None;
        }
        self.at = end;
        Some(Record {
            name,
            flush,
            ttl,
            data,
        })
    }
}

struct Writer {
    bytes: Vec<u8>,
    /// Names that stand in the packet, and where.
    names: Vec<(String, u16)>,
    is_compressed: bool,
}

impl Writer {
    fn u16(&mut self, number: u16) {
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    fn name(&mut self, name: &str, is_compressed: bool) -> Option<()> {
        let mut rest = name;
        while !rest.is_empty() {
            let known = self
                .names
                .iter()
                .find(|(known, _)| known == rest)
                .map(|(_, at)| *at);
            match known {
                Some(at) if is_compressed => {
                    self.u16(0xc000 | at);
                    return Some(());
                }
                None if self.bytes.len() < 0x4000 => {
                    self.names.push((rest.to_owned(), self.bytes.len() as u16));
                }
                Some(_) | None => {}
            }
            let (label, after) = rest.split_once('.')?;
            if label.is_empty() || label.len() > 63 {
                return None;
            }
            self.bytes.push(label.len() as u8);
            self.bytes.extend_from_slice(label.as_bytes());
            rest = after;
        }
        self.bytes.push(0);
        Some(())
    }

    fn record(&mut self, record: &Record) -> Option<()> {
        self.name(&record.name, self.is_compressed)?;
        let kind = match &record.data {
            Data::Ptr(_) => PTR,
            Data::Srv { .. } => SRV,
            Data::Txt(_) => TXT,
            Data::A(_) => A,
            Data::Aaaa(_) => AAAA,
            Data::Other => return None,
        };
        self.u16(kind);
        self.u16(if record.flush { IN | TOP } else { IN });
        self.bytes.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.u16(0);
        match &record.data {
            Data::Ptr(target) => self.name(target, self.is_compressed)?,
            Data::Srv { port, target } => {
                self.u16(0);
                self.u16(0);
                self.u16(*port);
                self.name(target, false)?;
            }
            Data::Txt(texts) => {
                for text in texts {
                    self.bytes.push(u8::try_from(text.len()).ok()?);
                    self.bytes.extend_from_slice(text);
                }
            }
            Data::A(address) => self.bytes.extend_from_slice(&address.octets()),
            Data::Aaaa(address) => self.bytes.extend_from_slice(&address.octets()),
            Data::Other => return None,
        }
        let length = (self.bytes.len() - length_at - 2) as u16;
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn junk_is_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn damaged_packets_are_judged_without_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let record = |data| Record { name: "a.b.local.".into(), flush: true, ttl: 1, data };
            let packet = Packet {
                answers: vec![
                    record(Data::Ptr("x.b.local.".into())),
                    record(Data::Srv { port: 1, target: "h.local.".into() }),
                    record(Data::Txt(vec![b"t".to_vec()])),
                ],
                ..Packet::default()
            };
            let mut bytes = packet.write(true).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn packets_round_trip(names in proptest::collection::vec("([a-z:0-9]{1,10}\\.){1,4}", 1..6), compressed in any::<bool>()) {
            let answers = names.iter().map(|name| Record {
                name: name.clone(),
                flush: false,
                ttl: 7,
                data: Data::Ptr(names[0].clone()),
            });
            let packet = Packet { answers: answers.collect(), ..Packet::default() };
            prop_assert_eq!(Packet::parse(&packet.write(compressed).unwrap()), Some(packet));
        }
    }

    #[test]
    fn names_that_cannot_be_written() {
        let packet = |name: String| Packet {
            questions: vec![Question {
                name,
                wants_unicast: false,
            }],
            ..Packet::default()
        };
        assert!(packet(format!("{}.local.", "x".repeat(64))).write(true).is_none());
        assert!(packet(".local.".to_owned()).write(true).is_none());
    }
}
