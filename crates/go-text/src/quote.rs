//! Texts in quotation marks: `strconv.Quote` of Go's documentation, which is also what `%q` prints.

use std::fmt::{self, Display, Write as _};

/// A text as `%q` prints it.
pub fn quote(text: &str) -> impl Display + '_ {
    Quoted(text)
}

/// A text as the package `time` puts it into its errors: byte by byte where it is not ASCII.
pub(crate) fn quote_bytes(text: &str) -> impl Display + '_ {
    QuotedBytes(text)
}

struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{b}' => f.write_str("\\v")?,
                ' '..='~' => f.write_char(character)?,
                '\0'..='\u{7f}' => write!(f, "\\x{:02x}", u32::from(character))?,
                _ if is_printed(character) => f.write_char(character)?,
                '\0'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => write!(f, "\\U{:08x}", u32::from(character))?,
            }
        }
        f.write_char('"')
    }
}

/// Whether a character shows, which `escape_debug` judges as Go does. A letter goes before it, since a mark that comes
/// first is escaped.
fn is_printed(character: char) -> bool {
    let mut text = [0; 5];
    text[0] = b'a';
    let length = character.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..=length]).is_ok_and(|text| text.escape_debug().eq(text.chars()))
}

struct QuotedBytes<'a>(&'a str);

impl Display for QuotedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..0x80 => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotation_marks() {
        for (text, wanted) in [
            ("", r#""""#),
            ("plain text", r#""plain text""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#),
            ("\0\u{1b}\u{7f}", r#""\x00\x1b\x7f""#),
            (
                "\u{e4}\u{4e16}\u{1f600}e\u{301}",
                "\"\u{e4}\u{4e16}\u{1f600}e\u{301}\"",
            ),
            ("\u{85}\u{200b}\u{feff}", r#""\u0085\u200b\ufeff""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quote(text).to_string(), wanted);
        }
    }

    #[test]
    fn of_the_package_time() {
        for (text, wanted) in [
            ("1 s", r#""1 s""#),
            ("1\u{b5}x", r#""1\xc2\xb5x""#),
            ("\"\\\n", r#""\"\\\x0a""#),
        ] {
            assert_eq!(quote_bytes(text).to_string(), wanted);
        }
    }
}
