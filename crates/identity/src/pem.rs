//! PEM (RFC 7468), as leniently as Go's `encoding/pem` reads it, which is what writes and reads the files around
//! Dapr.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const CERTIFICATE: &str = "CERTIFICATE";
const LINE: usize = 64;

/// There is no certificate at all.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no certificates found")]
pub(crate) struct NoCertificates;

/// The certificates in `text`, as DER. Text before a block is passed over; the first block of another kind ends
/// the reading; a block that is broken is text.
pub(crate) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, NoCertificates> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((label, der, after)) = next_block(rest) {
        if label != CERTIFICATE {
            break;
        }
        found.push(der);
        rest = after;
    }
    if found.is_empty() {
        return Err(NoCertificates);
    }
    Ok(found)
}

/// A block of this kind.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(END);
    text.push_str(label);
    text.push_str(DASHES);
    text.push('\n');
    text
}

/// The first whole block: its label, its bytes, and what comes after it.
fn next_block(text: &str) -> Option<(&str, Vec<u8>, &str)> {
    let mut rest = text;
    loop {
        let begin = rest.find(BEGIN)?;
        let at_line_start = begin == 0 || rest.as_bytes().get(begin - 1) == Some(&b'\n');
        let after = rest.get(begin + BEGIN.len()..)?;
        rest = after;
        if !at_line_start {
            continue;
        }
        let Some((line, body)) = after.split_once('\n') else {
            continue;
        };
        let Some(label) = line.trim_end().strip_suffix(DASHES) else {
            continue;
        };
        let end = format!("{END}{label}{DASHES}");
        let Some((base64, after)) = body.split_once(&end) else {
            continue;
        };
        if let Some(der) = decode(base64) {
            return Some((label, der, after));
        }
    }
}

/// The bytes between the lines. Headers (`Key: value`) are passed over.
fn decode(body: &str) -> Option<Vec<u8>> {
    let lines = body.lines().skip_while(|line| line.contains(':'));
    let base64: String = lines
        .flat_map(str::chars)
        .filter(|character| !character.is_ascii_whitespace())
        .collect();
    STANDARD.decode(base64).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks() {
        let one = encode(CERTIFICATE, b"one");
        let two = encode(CERTIFICATE, b"two");
        let key = encode("PRIVATE KEY", b"key");
        let crlf = one.replace('\n', "\r\n");
        let headed = one.replace("CERTIFICATE-----\nb", "CERTIFICATE-----\nKey: value\n\nb");
        let cases: [(String, &[&[u8]]); 11] = [
            (format!("{one}{two}"), &[b"one", b"two"]),
            (format!("subject=CN\n{one}\ntext\n{two}"), &[b"one", b"two"]),
            (format!("{one}{key}{two}"), &[b"one"]),
            (format!("{key}{one}"), &[]),
            (format!("{crlf}{two}"), &[b"one", b"two"]),
            (headed, &[b"one"]),
            (
                format!("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n{one}"),
                &[b"one"],
            ),
            (one.trim_end().to_owned(), &[b"one"]),
            (one.replace("-----END CERTIFICATE-----", ""), &[]),
            (String::new(), &[]),
            ("/etc/ssl/ca.pem".to_owned(), &[]),
        ];
        for (text, wanted) in cases {
            let found = certificates(&text).unwrap_or_default();
            assert_eq!(found, wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(all in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..4)) {
            let text: String = all.iter().map(|der| encode(CERTIFICATE, der)).collect();
            prop_assert_eq!(certificates(&text), Ok(all));
            prop_assert!(text.lines().all(|line| line.len() <= LINE));
        }

        #[test]
        fn any_text_is_read(text in "(-----BEGIN |-----END |CERTIFICATE|-----|\n|:|[a-zA-Z=]|\\PC){0,40}") {
            let _ = certificates(&text);
        }
    }
}
