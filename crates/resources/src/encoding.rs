//! The text of a file: UTF-8, or UTF-16 as some editors of Windows write it.
//!
//! A document of YAML may be in either ([YAML 1.2, 5.2](https://yaml.org/spec/1.2.2/#52-character-encodings)). The
//! beginning of the file tells which.

use std::io;

/// The text that these bytes are. Bytes that are none are refused.
pub(crate) fn text_of(bytes: Vec<u8>) -> io::Result<String> {
    match wide(&bytes) {
        Some(text) => text,
        None => String::from_utf8(bytes).map_err(|error| refused("UTF-8", error.utf8_error().valid_up_to())),
    }
}

/// The text of bytes that begin as UTF-16 does.
pub(crate) fn wide(bytes: &[u8]) -> Option<io::Result<String>> {
    let pair: fn([u8; 2]) -> u16 = match bytes.get(..2)? {
        [0xff, 0xfe] => u16::from_le_bytes,
        [0xfe, 0xff] => u16::from_be_bytes,
        _ => return None,
    };
    Some(of_pairs(bytes, pair))
}

fn of_pairs(bytes: &[u8], pair: fn([u8; 2]) -> u16) -> io::Result<String> {
    let (pairs, rest) = bytes[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(refused("UTF-16", bytes.len() - 1));
    }
    let mut at = 2;
    let letters = char::decode_utf16(pairs.iter().map(|bytes| pair(*bytes)));
    let text = letters.map(|letter| {
        let letter = letter.map_err(|_| refused("UTF-16", at))?;
        at += 2 * letter.len_utf16();
        Ok(letter)
    });
    text.collect()
}

fn refused(encoding: &str, at: usize) -> io::Error {
    let text = format!("the file is no text in {encoding}: byte {at}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        let pairs =
            |text: &str, of: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(of).collect() };
        let text = "name: f\u{fc} \u{1f600}\n";
        let marked = format!("\u{feff}{text}");
        for bytes in [
            text.into(),
            pairs(&marked, u16::to_le_bytes),
            pairs(&marked, u16::to_be_bytes),
        ] {
            assert_eq!(text_of(bytes).unwrap(), text);
        }
        // What comes behind the mark of UTF-8 is left to the parser, which knows it.
        assert_eq!(text_of(marked.clone().into()).unwrap(), marked);
        assert_eq!(text_of(Vec::new()).unwrap(), "");
    }

    #[test]
    fn what_is_no_text() {
        for (bytes, wanted) in [
            (&b"name: f\xfc\n"[..], "the file is no text in UTF-8: byte 7"),
            (b"\xff\xfea\0b", "the file is no text in UTF-16: byte 4"),
            (b"\xff\xfea\0\x00\xdcb\0", "the file is no text in UTF-16: byte 4"),
            (b"\xfe\xff\xd8", "the file is no text in UTF-16: byte 2"),
        ] {
            assert_eq!(text_of(bytes.to_vec()).unwrap_err().to_string(), wanted);
        }
    }
}
