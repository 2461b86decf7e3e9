//! Writing header blocks (RFC 7541, 6).

use http::{HeaderName, HeaderValue};

use super::table::{Dynamic, ITS_VALUE, STATIC_ENTRIES, WITH_VALUE};
use super::{DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, Pseudo, names};

/// Pairs longer than this do not go into the table, where they would push out everything else.
const LONGEST_INDEXED: usize = 1024;

/// Writes the header blocks of one connection.
///
/// A pair of name and value goes into the dynamic table when it comes up for the second time within a while:
/// values that differ with every call, such as trace ids and timeouts, never push out those that repeat.
pub(crate) struct Encoder {
    table: Dynamic<Entry>,
    /// The smallest size that was asked for since the last block, if any was (RFC 7541, 4.2).
    smallest: Option<usize>,
    /// How many entries were ever inserted. Entries are known by this number at the time.
    inserted: u32,
    /// Finds entries by the hash of their pair.
    index: Box<[[Slot; WAYS]; BUCKETS]>,
    /// Hashes of pairs that came up lately, the newest of each row first. Rows keep two pairs that come up with
    /// every call from driving each other out.
    seen: [[u32; WAYS]; ROWS],
}

const BUCKETS: usize = 32;
const WAYS: usize = 4;
const ROWS: usize = 16;

/// A place in the index. It is free when the entry of its number is no longer in the table.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    number: u32,
}

/// A pair in one allocation: typed values could share, and so keep alive, the buffer they were read into.
struct Entry {
    name_len: usize,
    text: Box<[u8]>,
}

impl Entry {
    #[inline]
    fn is(&self, name: &[u8], value: &[u8]) -> bool {
        // Comparing nothing costs some 50 ns with the masked loads of newer processors: an empty slice may
        // point to an address that is not mapped.
        self.text
            .split_at_checked(self.name_len)
            .is_some_and(|(its_name, its_value)| {
                its_name == name && its_value.len() == value.len() && (value.is_empty() || its_value == value)
            })
    }
}

#[derive(Clone, Copy)]
enum Policy {
    Index,
    NotNow,
    Never,
}

impl Encoder {
    /// For a peer whose SETTINGS are not known yet.
    pub(crate) fn new() -> Self {
        Self {
            table: Dynamic::new(DEFAULT_TABLE_SIZE),
            smallest: None,
            inserted: 0,
            index: Box::new([[Slot::default(); WAYS]; BUCKETS]),
            seen: [[0; WAYS]; ROWS],
        }
    }

    /// Takes the peer's `SETTINGS_HEADER_TABLE_SIZE`. No more than 4096 are ever used.
    pub(crate) fn set_max_table_size(&mut self, size: usize) {
        let size = size.min(DEFAULT_TABLE_SIZE);
        if size != self.table.max_size() {
            self.smallest = Some(self.smallest.map_or(size, |smallest| smallest.min(size)));
            self.table.resize(size);
        }
    }

    /// Starts a block. Size updates go here, and nowhere else (RFC 7541, 4.2).
    #[inline]
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.smallest.take() {
            let size = self.table.max_size();
            if smallest < size {
                integer(smallest, 0x20, 5, out);
            }
            integer(size, 0x20, 5, out);
        }
    }

    /// Writes a pseudo-header field. They come before all others (RFC 9113, 8.3).
    #[inline]
    pub(crate) fn pseudo(&mut self, name: Pseudo, value: &[u8], out: &mut Vec<u8>) {
        let index = match (name, value) {
            (Pseudo::Method, b"GET") => 2,
            (Pseudo::Method, b"POST") => 3,
            (Pseudo::Path, b"/") => 4,
            (Pseudo::Path, b"/index.html") => 5,
            (Pseudo::Scheme, b"http") => 6,
            (Pseudo::Scheme, b"https") => 7,
            (Pseudo::Status, b"200") => 8,
            (Pseudo::Status, b"204") => 9,
            (Pseudo::Status, b"206") => 10,
            (Pseudo::Status, b"304") => 11,
            (Pseudo::Status, b"400") => 12,
            (Pseudo::Status, b"404") => 13,
            (Pseudo::Status, b"500") => 14,
            _ => return self.pair(name.as_str().as_bytes(), value, out),
        };
        out.push(0x80 | index);
    }

    /// Writes a regular field.
    #[inline]
    pub(crate) fn field(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
        let (text, is_sensitive) = (name.as_str().as_bytes(), value.is_sensitive());
        if is_sensitive {
            literal(static_index(text), Policy::Never, text, value.as_bytes(), out);
        } else {
            self.pair(text, value.as_bytes(), out);
        }
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    #[cfg(test)]
    pub(super) fn table_len(&self) -> usize {
        self.table.len()
    }

    fn pair(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        if name.len() + value.len() > LONGEST_INDEXED {
            let policy = if is_secret(name) {
                Policy::Never
            } else {
                Policy::NotNow
            };
            return literal(static_index(name), policy, name, value, out);
        }
        let hash = hash(name, value);
        match self.find(hash, name, value) {
            Some(age) => integer(STATIC_ENTRIES + 1 + age, 0x80, 7, out),
            None => self.other_pair(hash, name, value, out),
        }
    }

    #[inline]
    fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let bucket = &self.index[hash as usize % BUCKETS];
        bucket.iter().filter(|slot| slot.hash == hash).find_map(|slot| {
            let age = self.age(*slot);
            self.table
                .get(age)
                .filter(|entry| entry.is(name, value))
                .map(|_| age)
        })
    }

    /// How many entries came after that of the slot. If the slot is free it is no less than the table's length.
    #[inline]
    fn age(&self, slot: Slot) -> usize {
        self.inserted.wrapping_sub(slot.number) as usize
    }

    /// A pair that is not in the dynamic table.
    fn other_pair(&mut self, hash: u32, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let index = static_index(name);
        if is_secret(name) {
            return literal(index, Policy::Never, name, value, out);
        }
        let in_table = if index == WITH_VALUE {
            ITS_VALUE.as_bytes()
        } else {
            b""
        };
        if index != 0 && !name.starts_with(b":") && value == in_table {
            return integer(index, 0x80, 7, out);
        }
        let policy = if self.is_repeated(hash) && self.insert(hash, name, value) {
            Policy::Index
        } else {
            Policy::NotNow
        };
        literal(index, policy, name, value, out);
    }

    fn is_repeated(&mut self, hash: u32) -> bool {
        // The low bits choose the bucket of the index, and the pairs in one should not share a row here too.
        let row = &mut self.seen[(hash >> 16) as usize % ROWS];
        if row.contains(&hash) {
            return true;
        }
        row.rotate_right(1);
        row[0] = hash;
        false
    }

    /// False if there is no place for it: in the table, or to find it again without losing another.
    fn insert(&mut self, hash: u32, name: &[u8], value: &[u8]) -> bool {
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        let bucket = &self.index[hash as usize % BUCKETS];
        let free = bucket.iter().position(|slot| self.age(*slot) >= self.table.len());
        let Some(way) = free.filter(|_| size <= self.table.max_size()) else {
            return false;
        };
        self.inserted = self.inserted.wrapping_add(1);
        let entry = Entry {
            name_len: name.len(),
            text: [name, value].concat().into(),
        };
        self.table.insert(size, entry);
        self.index[hash as usize % BUCKETS][way] = Slot {
            hash,
            number: self.inserted,
        };
        true
    }
}

/// Zero, which stands for a literal name, if the static table does not have the name (RFC 7541, 6.2).
fn static_index(name: &[u8]) -> usize {
    if !name.starts_with(b":") {
        return names::static_index(name).unwrap_or(0);
    }
    match name {
        b":authority" => 1,
        b":method" => 2,
        b":path" => 4,
        b":scheme" => 6,
        b":status" => 8,
        _ => 0,
    }
}

/// Whether a field of this name holds what nobody may learn by probing the table (RFC 7541, 7.1).
fn is_secret(name: &[u8]) -> bool {
    matches!(
        name,
        b"authorization" | b"cookie" | b"dapr-api-token" | b"proxy-authorization" | b"set-cookie"
    )
}

fn literal(index: usize, policy: Policy, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let (pattern, bits) = match policy {
        Policy::Index => (0x40, 6),
        Policy::NotNow => (0x00, 4),
        Policy::Never => (0x10, 4),
    };
    integer(index, pattern, bits, out);
    if index == 0 {
        string(name, out);
    }
    string(value, out);
}

#[inline]
fn string(text: &[u8], out: &mut Vec<u8>) {
    integer(text.len(), 0, 7, out);
    out.extend_from_slice(text);
}

/// An integer in the low `bits` of a byte and those that follow (RFC 7541, 5.1).
#[inline]
fn integer(value: usize, pattern: u8, bits: u32, out: &mut Vec<u8>) {
    let most = (1_usize << bits) - 1;
    if value < most {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(0x80 | rest as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Hits are compared in full, so this needs to be quick and good enough, and no more. It never is zero, which
/// marks what is empty.
#[inline]
fn hash(name: &[u8], value: &[u8]) -> u32 {
    let state = absorb(absorb(0x243f_6a88_85a3_08d3, name), value);
    (state ^ (state >> 32)) as u32 | 1 << 31
}

#[inline]
fn absorb(state: u64, text: &[u8]) -> u64 {
    // The length keeps "ab" + "c" and "a" + "bc" apart. Spread over all bits, it is not undone by a letter.
    let mut state = state ^ (text.len() as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let (words, _) = text.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    if let Some(last) = text.last_chunk::<8>() {
        // It may overlap the last word, which does no harm and needs no loop over single bytes.
        return mix(state, u64::from_le_bytes(*last));
    }
    let tail = match (text.first_chunk::<4>(), text.last_chunk::<4>(), text) {
        (Some(a), Some(b), _) => u64::from(u32::from_le_bytes(*a)) << 32 | u64::from(u32::from_le_bytes(*b)),
        (.., [a, .., b]) => {
            let middle = text.get(text.len() / 2).copied().unwrap_or_default();
            u64::from(u32::from_le_bytes([*a, middle, *b, 1]))
        }
        (.., [a]) => u64::from(*a),
        _ => 0,
    };
    mix(state, tail)
}

#[inline]
fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}
