//! Answers in odd forms: what of them is mended, and what is wrong with those that cannot be read.
//!
//! Go's HTTP client reads more than hyper does, and apps have been written against it. What cannot be taken for
//! anything else is put into the form that hyper knows. The rest is refused, and named in Go's words: whoever has to
//! mend the app needs to know what.

/// As much of a line is shown.
const SHOWN: usize = 256;
/// As many headers does hyper read.
const MOST_HEADERS: usize = 100;
/// What is said of an answer with more of them. hyper says that its head is too large.
pub(super) const TOO_MANY: &str = "the answer has more than 100 headers";

/// Mends a status line, in place, that stands at the start of what was read: a later minor version of HTTP/1, which is
/// read as HTTP/1.1 (RFC 9110, section 2.5), and further blanks before the code.
pub(crate) fn mend(read: &mut [u8]) {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', rest @ ..] = read else {
        return;
    };
    if matches!(minor, b'2'..=b'9') {
        *minor = b'1';
    }
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    if blanks == 0 || !rest[blanks..].first().is_some_and(u8::is_ascii_digit) {
        return;
    }
    let code = rest[blanks..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    rest[..blanks + code].rotate_left(blanks);
}

/// What is wrong with the head of an answer (RFC 9112, sections 4 and 5); `None` if nothing of this is.
pub(crate) fn wrong(head: &[u8]) -> Option<String> {
    let mut lines = head
        .split_inclusive(|byte| *byte == b'\n')
        // What has no end may go on.
        .filter_map(|line| line.strip_suffix(b"\n"))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .skip_while(|line| line.is_empty());
    if let Some(wrong) = of_status_line(lines.next()?) {
        return Some(wrong);
    }
    let mut headers = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        let is_folded = matches!(line.first(), Some(b' ' | b'\t'));
        let what = match line.iter().position(|byte| *byte == b':') {
            _ if is_folded && headers == 0 => " initial line",
            _ if has_control(line) => " line",
            _ if is_folded => "",
            None => ": missing colon",
            Some(colon) if !is_name(&line[..colon]) => " line",
            Some(_) => "",
        };
        if !what.is_empty() {
            return Some(format!("malformed MIME header{what}: {:?}", shown(line)));
        }
        headers += usize::from(!is_folded);
    }
    (headers > MOST_HEADERS).then(|| TOO_MANY.to_owned())
}

fn of_status_line(line: &[u8]) -> Option<String> {
    let malformed = |what: &str, text: &[u8]| Some(format!("malformed HTTP {what} {:?}", shown(text)));
    let Some(at) = line.iter().position(|byte| *byte == b' ') else {
        return malformed("response", line);
    };
    let (version, rest) = (&line[..at], &line[at + 1..]);
    let code = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    if code.len() != 3 || !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' {
        return malformed("status code", code);
    }
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return malformed("version", version);
    }
    if has_control(line) {
        return malformed("response", line);
    }
    None
}

/// A name of a header, perhaps with blanks behind it.
fn is_name(name: &[u8]) -> bool {
    http::HeaderName::from_bytes(name.trim_ascii_end()).is_ok()
}

fn has_control(line: &[u8]) -> bool {
    line.iter()
        .any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f)
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mended() {
        for (read, wanted) in [
            ("HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
            ("HTTP/1.0 200 OK\r\n", "HTTP/1.0 200 OK\r\n"),
            ("HTTP/1.2 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
            ("HTTP/1.1  200 OK\r\n", "HTTP/1.1 200  OK\r\n"),
            ("HTTP/1.9   200\r\n", "HTTP/1.1 200  \r\n"),
            ("HTTP/1.1   2000 OK\r\n", "HTTP/1.1 2000   OK\r\n"),
            ("HTTP/1.1   \r\n", "HTTP/1.1   \r\n"),
            ("HTTP/1.1  x200\r\n", "HTTP/1.1  x200\r\n"),
            ("HTTP/2.0 200 OK\r\n", "HTTP/2.0 200 OK\r\n"),
            ("HTTP/1.", "HTTP/1."),
            ("HTTP/1.1 ", "HTTP/1.1 "),
            ("", ""),
        ] {
            let mut mended = read.as_bytes().to_vec();
            mend(&mut mended);
            assert_eq!(String::from_utf8(mended).unwrap(), wanted, "{read:?}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for (head, wanted) in [
            (
                "SSH-2.0-OpenSSH_9.6\r\n",
                "malformed HTTP response \"SSH-2.0-OpenSSH_9.6\"",
            ),
            ("hello world\r\n", "malformed HTTP status code \"world\""),
            ("ICY 200 OK\r\n", "malformed HTTP version \"ICY\""),
            ("http/1.1 200 OK\r\n", "malformed HTTP version \"http/1.1\""),
            ("HTTP/2.0 200 OK\r\n", "malformed HTTP version \"HTTP/2.0\""),
            ("HTTP/1.1\r\n", "malformed HTTP response \"HTTP/1.1\""),
            (
                "HTTP/1.1 200 \x01\r\n",
                "malformed HTTP response \"HTTP/1.1 200 \\u{1}\"",
            ),
            ("HTTP/1.1 2x0 OK\r\n", "malformed HTTP status code \"2x0\""),
            ("HTTP/1.1 099 Low\r\n", "malformed HTTP status code \"099\""),
            ("HTTP/1.1 20 OK\r\n", "malformed HTTP status code \"20\""),
            ("HTTP/1.1 2000 OK\r\n", "malformed HTTP status code \"2000\""),
            (
                "HTTP/1.1 200 OK\r\n a: b\r\n\r\n",
                "malformed MIME header initial line: \" a: b\"",
            ),
            (
                "HTTP/1.1 200 OK\r\na: b\r\nno colon\r\n\r\n",
                "malformed MIME header: missing colon: \"no colon\"",
            ),
            (
                "HTTP/1.1 200 OK\na b: c\n\n",
                "malformed MIME header line: \"a b: c\"",
            ),
            (
                "HTTP/1.1 200 OK\r\n: c\r\n\r\n",
                "malformed MIME header line: \": c\"",
            ),
            (
                "HTTP/1.1 200 OK\r\na: b\x00\r\n\r\n",
                "malformed MIME header line: \"a: b\\0\"",
            ),
            (
                "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
                "malformed MIME header line: \"a: b\\rc\"",
            ),
        ] {
            assert_eq!(wrong(head.as_bytes()).as_deref(), Some(wanted), "{head:?}");
        }
    }

    #[test]
    fn nothing_is_wrong_with_these() {
        for head in [
            "",
            "\r\n",
            "not whole",
            "HTTP/1.1 200 OK\r\nnot whole",
            "HTTP/1.1 200 OK\r\na: b\r\n\r\n\x00 the body",
            "HTTP/1.0 599\r\na:\r\n b\r\n\tc\r\nd : e\r\n\r\n",
            "HTTP/1.1 200 \u{e9}\r\na: \u{e9}\r\n",
        ] {
            assert_eq!(wrong(head.as_bytes()), None, "{head:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let line = format!("{}\n", "x".repeat(100_000));
        assert!(wrong(line.as_bytes()).unwrap().len() < 300);
    }

    #[test]
    fn headers_are_counted() {
        let head = |count: usize| format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n c\r\n".repeat(count));
        assert_eq!(wrong(head(100).as_bytes()), None);
        assert_eq!(wrong(head(101).as_bytes()).as_deref(), Some(TOO_MANY));
    }
}
