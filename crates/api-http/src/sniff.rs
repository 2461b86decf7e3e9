//! The content type of an answer whose app named none, by its first bytes: the rules of the WHATWG MIME Sniffing
//! Standard as far as Go's `http.DetectContentType` follows them, which is what apps behind Dapr have had.

/// How many bytes are looked at.
const LOOKED_AT: usize = 512;

/// `(prefix, type)`; compared as they are.
const EXACT: &[(&[u8], &str)] = &[
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain; charset=utf-16be"),
    (b"\xff\xfe", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", "text/plain; charset=utf-8"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x00\x00\x02\x00", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"ID3", "audio/mpeg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\x00\x01\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\x00", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
];

const HTML: &[&str] = &[
    "<!DOCTYPE HTML",
    "<HTML",
    "<HEAD",
    "<SCRIPT",
    "<IFRAME",
    "<H1",
    "<DIV",
    "<FONT",
    "<TABLE",
    "<A",
    "<STYLE",
    "<TITLE",
    "<B",
    "<BODY",
    "<BR",
    "<P",
    "<!--",
];

/// The type of a body that begins so.
pub(crate) fn content_type(body: &[u8]) -> &'static str {
    let body = &body[..body.len().min(LOOKED_AT)];
    let text = body.trim_ascii_start();
    if HTML.iter().any(|tag| begins_with_tag(text, tag)) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    if let Some((_, kind)) = EXACT.iter().find(|(prefix, _)| body.starts_with(prefix)) {
        return kind;
    }
    match (body.get(..4), body.get(8..12)) {
        (Some(b"RIFF"), Some(b"WAVE")) => return "audio/wave",
        (Some(b"RIFF"), Some(b"AVI ")) => return "video/avi",
        (Some(b"RIFF"), Some(b"WEBP")) => return "image/webp",
        (Some(b"FORM"), Some(b"AIFF")) => return "audio/aiff",
        _ => {}
    }
    if body.get(4..11) == Some(b"ftypmp4") {
        return "video/mp4";
    }
    let is_binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if body.iter().any(is_binary) {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}

/// A tag in any case, followed by a blank or `>`; a comment needs nothing after it.
fn begins_with_tag(text: &[u8], tag: &str) -> bool {
    let Some(begin) = text.get(..tag.len()) else {
        return false;
    };
    begin.eq_ignore_ascii_case(tag.as_bytes())
        && (tag == "<!--" || matches!(text.get(tag.len()), Some(b' ' | b'>')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (body, wanted) in [
            (&b""[..], "text/plain; charset=utf-8"),
            (b"hello", "text/plain; charset=utf-8"),
            (b"{\"a\":1}", "text/plain; charset=utf-8"),
            (b" \n<html><body>", "text/html; charset=utf-8"),
            (b"<p>x", "text/html; charset=utf-8"),
            (b"<para>", "text/plain; charset=utf-8"),
            (b"<?xml version", "text/xml; charset=utf-8"),
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"\x01\x02", "application/octet-stream"),
            (b"RIFF1234WEBPVP", "image/webp"),
        ] {
            assert_eq!(content_type(body), wanted, "{:?}", String::from_utf8_lossy(body));
        }
    }
}
