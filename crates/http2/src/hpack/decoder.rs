//! Reading header blocks (RFC 7541, 3 and 6).

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::table::{Dynamic, FIRST_FIELD, ITS_VALUE, PSEUDO_FIELDS, STATIC_ENTRIES, WITH_VALUE};
use super::{DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, Fields, HpackError, Pseudo, huffman, names};

/// How much of the scratch memory is kept from one block to the next.
const SCRATCH_KEPT: usize = 16 * 1024;

/// Reads the header blocks of one connection.
pub(crate) struct Decoder {
    table: Dynamic<Entry>,
    /// Our `SETTINGS_HEADER_TABLE_SIZE`, which size updates stay within.
    largest: usize,
    /// Where Huffman codes are unpacked, to learn the length before anything is allocated to keep.
    scratch: Vec<u8>,
}

#[derive(Clone)]
enum Name {
    Field(HeaderName),
    Pseudo(Pseudo),
    /// Only its length matters.
    Bad(usize),
}

impl Name {
    fn of(name: &[u8]) -> Self {
        if let Some(name) = names::header_name(name) {
            return Self::Field(name);
        }
        if let Some(name) = Pseudo::from_name(name) {
            return Self::Pseudo(name);
        }
        HeaderName::from_lowercase(name).map_or(Self::Bad(name.len()), Self::Field)
    }

    fn len(&self) -> usize {
        match self {
            Self::Field(name) => name.as_str().len(),
            Self::Pseudo(name) => name.as_str().len(),
            Self::Bad(len) => *len,
        }
    }
}

/// A field in the form it is handed out, so that a reference to it costs no check and no copy.
enum Entry {
    Field(HeaderName, HeaderValue),
    Pseudo(Pseudo, Bytes),
    /// A size, and a name that a later field with a better value may refer to.
    Malformed(Name, usize),
}

impl Entry {
    fn new(name: Name, value: Bytes) -> Self {
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        match name {
            Name::Field(name) => match HeaderValue::from_maybe_shared(value) {
                Ok(value) => Self::Field(name, value),
                Err(_) => Self::Malformed(Name::Field(name), size),
            },
            Name::Pseudo(name) if !value.iter().any(u8::is_ascii_control) => Self::Pseudo(name, value),
            name => Self::Malformed(name, size),
        }
    }

    /// What it counts for in the table (RFC 7541, 4.1).
    fn size(&self) -> usize {
        let text = match self {
            Self::Field(name, value) => name.as_str().len() + value.len(),
            Self::Pseudo(name, value) => name.as_str().len() + value.len(),
            Self::Malformed(_, size) => return *size,
        };
        text + ENTRY_OVERHEAD
    }

    fn name(&self) -> Name {
        match self {
            Self::Field(name, _) => Name::Field(name.clone()),
            Self::Pseudo(name, _) => Name::Pseudo(*name),
            Self::Malformed(name, _) => name.clone(),
        }
    }

    #[inline]
    fn show(&self, fields: &mut impl Fields) {
        match self {
            Self::Field(name, value) => fields.field(name.clone(), value.clone()),
            Self::Pseudo(name, value) => fields.pseudo(*name, value.clone()),
            Self::Malformed(_, size) => fields.malformed(*size),
        }
    }

    #[inline]
    fn hand_over(self, fields: &mut impl Fields) {
        match self {
            Self::Field(name, value) => fields.field(name, value),
            Self::Pseudo(name, value) => fields.pseudo(name, value),
            Self::Malformed(_, size) => fields.malformed(size),
        }
    }
}

/// What becomes of a literal field (RFC 7541, 6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literal {
    Indexed,
    Plain,
    NeverIndexed,
}

impl Decoder {
    /// For a connection on which we sent `max_table_size` as `SETTINGS_HEADER_TABLE_SIZE`.
    ///
    /// A peer starts out with 4096 whatever we say, so a smaller value fits only one that waits for our
    /// SETTINGS before it sends a field.
    pub(crate) fn new(max_table_size: usize) -> Self {
        Self {
            table: Dynamic::new(max_table_size.min(DEFAULT_TABLE_SIZE)),
            largest: max_table_size,
            scratch: Vec::new(),
        }
    }

    /// Reads a whole block: the payloads of HEADERS and its CONTINUATIONs, joined.
    ///
    /// Values may be slices of `block`, and then keep it alive. After an error the connection is lost.
    pub(crate) fn decode(&mut self, block: Bytes, fields: &mut impl Fields) -> Result<(), HpackError> {
        let mut input = Input { block: &block, at: 0 };
        let mut updates_allowed = true;
        if self.scratch.capacity() > SCRATCH_KEPT {
            // One long string is no reason to keep so much for all the time of the connection.
            self.scratch = Vec::new();
        }
        while let Some(first) = input.next() {
            // Size updates are the only form that is not a field, and must come before any (RFC 7541, 4.2).
            if first & 0xe0 == 0x20 {
                let size = input.integer(first, 5)?;
                if !updates_allowed || size > self.largest {
                    return Err(HpackError::BadSizeUpdate);
                }
                self.table.resize(size);
                continue;
            }
            updates_allowed = false;
            if first & 0x80 != 0 {
                let index = input.integer(first, 7)?;
                self.indexed(index, fields)?;
            } else if first & 0x40 != 0 {
                let index = input.integer(first, 6)?;
                let entry = self.literal(index, Literal::Indexed, &mut input)?;
                entry.show(fields);
                self.table.insert(entry.size(), entry);
            } else {
                let form = if first & 0x10 == 0 {
                    Literal::Plain
                } else {
                    Literal::NeverIndexed
                };
                let index = input.integer(first, 4)?;
                self.literal(index, form, &mut input)?.hand_over(fields);
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    #[inline]
    fn indexed(&self, index: usize, fields: &mut impl Fields) -> Result<(), HpackError> {
        if let Some(age) = index.checked_sub(STATIC_ENTRIES + 1) {
            self.table.get(age).ok_or(HpackError::BadIndex)?.show(fields);
        } else if let Some(name) = names::of_static_index(index) {
            let value = if index == WITH_VALUE { ITS_VALUE } else { "" };
            fields.field(name.clone(), HeaderValue::from_static(value));
        } else {
            let (name, value) = pseudo_field(index)?;
            fields.pseudo(name, Bytes::from_static(value.as_bytes()));
        }
        Ok(())
    }

    fn literal(&mut self, index: usize, form: Literal, input: &mut Input<'_>) -> Result<Entry, HpackError> {
        let name = if index == 0 {
            let raw = input.string()?;
            if raw.huffman {
                huffman::decode(raw.bytes, &mut self.scratch)?;
                Name::of(&self.scratch)
            } else {
                Name::of(raw.bytes)
            }
        } else if let Some(age) = index.checked_sub(STATIC_ENTRIES + 1) {
            self.table.get(age).ok_or(HpackError::BadIndex)?.name()
        } else if let Some(name) = names::of_static_index(index) {
            Name::Field(name.clone())
        } else {
            Name::Pseudo(pseudo_field(index)?.0)
        };
        let raw = input.string()?;
        let value = if raw.huffman {
            huffman::decode(raw.bytes, &mut self.scratch)?;
            Bytes::copy_from_slice(&self.scratch)
        } else if form == Literal::Indexed {
            // A slice in the table would keep a whole read buffer alive for as long as the table lives.
            Bytes::copy_from_slice(raw.bytes)
        } else {
            input.block.slice_ref(raw.bytes)
        };
        let mut entry = Entry::new(name, value);
        if form == Literal::NeverIndexed
            && let Entry::Field(_, value) = &mut entry
        {
            // Whoever passes the field on must not index it either (RFC 7541, 6.2.3).
            value.set_sensitive(true);
        }
        Ok(entry)
    }
}

fn pseudo_field(index: usize) -> Result<(Pseudo, &'static str), HpackError> {
    debug_assert!(index < FIRST_FIELD, "the others are regular fields");
    let place = index.checked_sub(1).ok_or(HpackError::BadIndex)?;
    PSEUDO_FIELDS.get(place).copied().ok_or(HpackError::BadIndex)
}

/// What is left of a block.
struct Input<'a> {
    block: &'a Bytes,
    at: usize,
}

struct RawString<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.block.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// An integer that starts in the low `bits` of `first` (RFC 7541, 5.1).
    #[inline]
    fn integer(&mut self, first: u8, bits: u32) -> Result<usize, HpackError> {
        let most = (1_u8 << bits) - 1;
        let value = first & most;
        if value < most {
            Ok(usize::from(value))
        } else {
            self.long_integer(most)
        }
    }

    fn long_integer(&mut self, start: u8) -> Result<usize, HpackError> {
        let mut value = u64::from(start);
        // Five bytes reach beyond 32 bits, so anything longer is too large or padded without end.
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.next().ok_or(HpackError::Truncated)?;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let value = u32::try_from(value).map_err(|_| HpackError::IntegerOverflow)?;
                return Ok(value as usize);
            }
        }
        Err(HpackError::IntegerOverflow)
    }

    /// A string, still in its code (RFC 7541, 5.2).
    #[inline]
    fn string(&mut self) -> Result<RawString<'a>, HpackError> {
        let first = self.next().ok_or(HpackError::Truncated)?;
        let length = self.integer(first, 7)?;
        let rest = self.block.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or(HpackError::Truncated)?;
        self.at += length;
        Ok(RawString {
            huffman: first & 0x80 != 0,
            bytes,
        })
    }
}
