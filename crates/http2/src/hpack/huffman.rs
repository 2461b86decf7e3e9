//! The Huffman code of strings (RFC 7541, 5.2 and appendix B), for reading only.
//!
//! The code is canonical: codes of one length are consecutive numbers, given out in the order of the symbols,
//! and every longer code is greater than all shorter ones when both are aligned to the left. So the lengths
//! alone determine it, and the tables below follow from them at compile time.

use super::HpackError;

/// The length of the code of each byte, and of the end-of-string symbol at the end.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const END_OF_STRING: u16 = 256;
const LONGEST: u32 = 30;

/// Codes up to this length, which are those of all common characters, take one look-up.
const FAST_BITS: u32 = 10;

struct Tables {
    /// By the next bits: symbol × 256 + length of its code. Zero where the code is longer.
    fast: [u16; 1 << FAST_BITS],
    /// The symbols ordered by their codes.
    ordered: [u16; 257],
    /// By length: the first code that is longer, aligned to the left of 32 bits.
    limit: [u32; LONGEST as usize + 1],
    /// By length: what to add (wrapping) to a code of that length for its place in `ordered`.
    place: [u32; LONGEST as usize + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut t = Tables {
        fast: [0; 1 << FAST_BITS],
        ordered: [0; 257],
        limit: [0; LONGEST as usize + 1],
        place: [0; LONGEST as usize + 1],
    };
    let (mut code, mut count, mut length) = (0_u32, 0_u32, 1_u32);
    while length <= LONGEST {
        code <<= 1;
        t.place[length as usize] = count.wrapping_sub(code);
        let mut symbol = 0_u16;
        while symbol < 257 {
            if LENGTHS[symbol as usize] as u32 == length {
                t.ordered[count as usize] = symbol;
                if length <= FAST_BITS {
                    let free = FAST_BITS - length;
                    let mut low = 0;
                    while low < 1 << free {
                        t.fast[((code << free) + low) as usize] = (symbol << 8) | length as u16;
                        low += 1;
                    }
                }
                code += 1;
                count += 1;
            }
            symbol += 1;
        }
        // The last code of 30 bits is all ones; past it the limit would not fit, and is never needed.
        t.limit[length as usize] = if length < LONGEST {
            code << (32 - length)
        } else {
            u32::MAX
        };
        length += 1;
    }
    t
}

/// The symbol whose code `bits` begins with, and the length of that code.
#[inline]
fn symbol(bits: u64) -> (u16, u32) {
    let fast = TABLES.fast[(bits >> (64 - FAST_BITS)) as usize];
    if fast == 0 {
        long_symbol(bits)
    } else {
        (fast >> 8, u32::from(fast & 0xff))
    }
}

#[cold]
fn long_symbol(bits: u64) -> (u16, u32) {
    let bits = (bits >> 32) as u32;
    let mut length = FAST_BITS + 1;
    while length < LONGEST && bits >= TABLES.limit[length as usize] {
        length += 1;
    }
    let place = (bits >> (32 - length)).wrapping_add(TABLES.place[length as usize]);
    let symbol = TABLES.ordered.get(place as usize);
    (symbol.copied().unwrap_or(END_OF_STRING), length)
}

/// Decodes `coded` in place of what `out` holds.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    out.clear();
    // The shortest code has 5 bits.
    out.reserve(coded.len() * 8 / 5);
    let mut rest = coded;
    // The next bits of the string, from the left, and how many of them are known to be right. Those behind
    // are zero or right too.
    let (mut bits, mut known) = (0_u64, 0_u32);
    loop {
        if let Some((word, _)) = rest.split_first_chunk::<8>() {
            bits |= u64::from_be_bytes(*word) >> known;
            let bytes = (63 - known) / 8;
            rest = rest.get(bytes as usize..).unwrap_or_default();
            known += bytes * 8;
        } else {
            while known <= 56
                && let Some((byte, tail)) = rest.split_first()
            {
                bits |= u64::from(*byte) << (56 - known);
                known += 8;
                rest = tail;
            }
            if known < LONGEST {
                break;
            }
        }
        while known >= LONGEST {
            let (symbol, length) = symbol(bits);
            let Ok(byte) = u8::try_from(symbol) else {
                return Err(HpackError::BadHuffman);
            };
            out.push(byte);
            bits <<= length;
            known -= length;
        }
    }
    // Filled up with ones, as the padding is, the end can not be taken for the start of any byte's code.
    bits |= u64::MAX >> known;
    while known > 0 {
        let (symbol, length) = symbol(bits);
        if length > known {
            let padding = known < 8 && bits == u64::MAX;
            return if padding {
                Ok(())
            } else {
                Err(HpackError::BadHuffman)
            };
        }
        out.push(symbol as u8);
        bits = !(!bits << length);
        known -= length;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plain definition of the code, to check the tables against.
    fn encode(bytes: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for byte in bytes {
            let symbol = u16::from(*byte);
            let place = TABLES.ordered.iter().position(|s| *s == symbol).unwrap() as u32;
            let length = u32::from(LENGTHS[usize::from(*byte)]);
            let code = place.wrapping_sub(TABLES.place[length as usize]);
            bits.extend(
                (0..length)
                    .rev()
                    .map(|bit| if code >> bit & 1 == 0 { '0' } else { '1' }),
            );
        }
        bits.extend(std::iter::repeat_n(
            '1',
            bits.len().next_multiple_of(8) - bits.len(),
        ));
        let octet = |at: usize| u8::from_str_radix(&bits[at..at + 8], 2).unwrap();
        (0..bits.len()).step_by(8).map(octet).collect()
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = b"left over".to_vec();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn codes_of_the_rfc() {
        // One of each length and both ends of the table, from appendix B.
        for (byte, code) in [
            (b'0', "00000"),
            (b't', "01001"),
            (b' ', "010100"),
            (b'z', "1111011"),
            (b'&', "11111000"),
            (b'!', "1111111000"),
            (b'|', "11111111100"),
            (b'#', "111111111010"),
            (0, "1111111111000"),
            (b'^', "11111111111100"),
            (b'<', "111111111111100"),
            (b'\\', "1111111111111110000"),
            (128, "11111111111111100110"),
            (1, "11111111111111111011000"),
            (192, "11111111111111111111100000"),
            (2, "1111111111111111111111100010"),
            (22, "111111111111111111111111111110"),
        ] {
            let padded = format!("{code:1<32}");
            let bytes = u32::from_str_radix(&padded, 2).unwrap().to_be_bytes();
            let coded = &bytes[..code.len().div_ceil(8)];
            assert_eq!(decoded(coded), Ok(vec![byte]), "{byte}");
            assert_eq!(encode(&[byte]), coded, "{byte}");
        }
    }

    #[test]
    fn bad_ends_are_refused() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        for bad in [
            &[0xff][..],                           // eight bits of padding
            &[0x07, 0xff],                         // '0', then eleven
            &[0x06],                               // '0', then padding with a zero
            &[0x00, 0x3f, 0xff],                   // three '0', then more than seven bits
            &[0xff, 0xff, 0xff, 0xff],             // the end-of-string symbol itself
            &[0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 0], // the same, with more behind it
            &[0xff, 0xff, 0xff],                   // a long code cut off
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(decoded(bad), Err(HpackError::BadHuffman), "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn reads_back(bytes: Vec<u8>, text in "[ -~]{0,80}") {
            prop_assert_eq!(decoded(&encode(&bytes)), Ok(bytes));
            prop_assert_eq!(decoded(&encode(text.as_bytes())), Ok(text.into_bytes()));
        }

        #[test]
        fn what_is_accepted_has_one_form(coded: Vec<u8>) {
            if let Ok(bytes) = decoded(&coded) {
                prop_assert_eq!(encode(&bytes), coded);
            }
        }
    }
}
