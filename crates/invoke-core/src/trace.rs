//! The trace context of a call, in the text form of W3C Trace Context and the binary form that Dapr sends as
//! `grpc-trace-bin`.

/// Trace id, span id and flags. The all-zero context stands for "no trace" and is sent as such: apps and peers
/// of Dapr expect the header to be there, and receivers ignore its zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// 16 bytes, zero when there is no trace.
    pub trace_id: [u8; 16],
    /// 8 bytes, zero when there is no trace.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

/// The most members of a trace state (W3C Trace Context, section 3.3.1.1).
const MOST_MEMBERS: usize = 32;

impl TraceContext {
    /// Whether it names a span. An id of zeros is invalid, and receivers ignore it (W3C Trace Context, section 3.2.2).
    pub fn is_valid(&self) -> bool {
        self.trace_id != [0; 16] && self.span_id != [0; 8]
    }

    /// Whether its spans are recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// Whether it names a span that somebody can look at later.
    pub fn is_recorded(&self) -> bool {
        self.is_sampled() && self.is_valid()
    }

    /// Reads a `traceparent` header (W3C Trace Context, section 3.2): version 00 has exactly four parts, later
    /// versions at least four; ids are lower-case hexadecimal and not zero. The flags may be in capitals, too.
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex::<1>(parts.next()?)?[0];
        let trace_id = hex::<16>(parts.next()?)?;
        let span_id = hex::<8>(parts.next()?)?;
        let flags = flags(parts.next()?)?;
        let extra = parts.next().is_some();
        if version == 0xff || (version == 0 && extra) || trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// The value of a `traceparent` header, always in version 00.
    pub fn to_traceparent(&self) -> [u8; 55] {
        let mut text = [b'-'; 55];
        put_hex(&mut text[0..2], &[0]);
        put_hex(&mut text[3..35], &self.trace_id);
        put_hex(&mut text[36..52], &self.span_id);
        put_hex(&mut text[53..55], &[self.flags]);
        text
    }

    /// Reads the binary form: version 0, field 0 with 16 bytes, then optionally field 1 with 8 and field 2 with 1.
    pub fn from_binary(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[0, 0])?;
        let (trace_id, mut rest) = rest.split_first_chunk::<16>()?;
        let mut context = Self {
            trace_id: *trace_id,
            ..Self::default()
        };
        if let Some((span_id, after)) = rest.strip_prefix(&[1]).and_then(<[u8]>::split_first_chunk::<8>) {
            context.span_id = *span_id;
            rest = after;
        }
        if let Some([flags, ..]) = rest.strip_prefix(&[2]) {
            context.flags = *flags;
        }
        Some(context)
    }

    /// The binary form, 29 bytes.
    pub fn to_binary(&self) -> [u8; 29] {
        let mut bytes = [0; 29];
        bytes[2..18].copy_from_slice(&self.trace_id);
        bytes[18] = 1;
        bytes[19..27].copy_from_slice(&self.span_id);
        bytes[27] = 2;
        bytes[28] = self.flags;
        bytes
    }
}

/// Whether a text is a trace state: at most 32 members, each a key with a value, no key twice (W3C Trace Context, section
/// 3.3.1).
pub fn is_state(text: &[u8]) -> bool {
    let mut keys: [&[u8]; MOST_MEMBERS] = [&[]; MOST_MEMBERS];
    let mut count = 0;
    let members = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    for member in members.filter(|member| !member.is_empty()) {
        let Some(at) = member.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let (key, value) = (&member[..at], &member[at + 1..]);
        if count == MOST_MEMBERS
            || !is_state_key(key)
            || !is_state_value(value)
            || keys[..count].contains(&key)
        {
            return false;
        }
        keys[count] = key;
        count += 1;
    }
    count > 0
}

fn is_state_key(key: &[u8]) -> bool {
    let is_rest = |bytes: &[u8]| {
        bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    let begins = |bytes: &[u8]| {
        bytes
            .first()
            .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => key.len() <= 256 && begins(key) && is_rest(key),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            tenant.len() <= 241
                && begins(tenant)
                && is_rest(tenant)
                && system.len() <= 14
                && system.first().is_some_and(u8::is_ascii_lowercase)
                && is_rest(system)
        }
    }
}

fn is_state_value(value: &[u8]) -> bool {
    let is_known = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'=' && *byte != b',';
    !value.is_empty() && value.len() <= 256 && value.iter().all(is_known)
}

/// Two digits, in small letters or capitals. More may follow in later versions.
fn flags(text: &str) -> Option<u8> {
    let [high, low] = text
        .as_bytes()
        .first_chunk::<2>()?
        .map(|digit| digit.to_ascii_lowercase());
    Some(digit(high)? << 4 | digit(low)?)
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

fn put_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn both_forms_round_trip() {
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        assert_eq!(std::str::from_utf8(&context.to_traceparent()).unwrap(), PARENT);
        assert_eq!(TraceContext::from_binary(&context.to_binary()), Some(context));
    }

    #[test]
    fn no_trace_is_all_zero() {
        let text = TraceContext::default().to_traceparent();
        assert_eq!(&text, b"00-00000000000000000000000000000000-0000000000000000-00");
    }

    #[test]
    fn bad_traceparents() {
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::from_traceparent(text), None, "{text:?}");
        }
        assert!(
            TraceContext::from_traceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")
                .is_some()
        );
    }

    #[test]
    fn states() {
        let many = |count: usize| {
            (0..count)
                .map(|key| format!("k{key}=1"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let long = "x".repeat(257);
        for (state, is_good) in [
            ("a=b", true),
            ("a=b,c=d", true),
            (" a=b , ,c=d e", true),
            ("1a_-*/=b", true),
            ("tenant@sys=b", true),
            (&many(32), true),
            (&many(33), false),
            ("", false),
            (",", false),
            ("a", false),
            ("=b", false),
            ("a=", false),
            ("a=b=c", false),
            ("A=b", false),
            ("a b=c", false),
            ("a=b,a=c", false),
            ("a=\u{e9}", false),
            ("@sys=b", false),
            ("tenant@1=b", false),
            (&format!("{long}=1"), false),
            (&format!("a={long}"), false),
        ] {
            assert_eq!(is_state(state.as_bytes()), is_good, "{state:?}");
        }
    }

    #[test]
    fn who_is_a_parent() {
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        assert!(context.is_valid() && context.is_sampled());
        assert!(!TraceContext::default().is_valid());
        let bare = TraceContext {
            span_id: [0; 8],
            flags: 2,
            ..context
        };
        assert!(!bare.is_valid() && !bare.is_sampled());
    }

    #[test]
    fn flags_in_capitals() {
        let context = TraceContext::from_traceparent(&PARENT.replace("-01", "-FF")).unwrap();
        assert_eq!(context.flags, 0xff);
    }

    #[test]
    fn a_short_binary_form_has_a_trace_id_at_least() {
        assert_eq!(TraceContext::from_binary(&[0; 17]), None);
        assert_eq!(TraceContext::from_binary(&[0; 18]), Some(TraceContext::default()));
    }
}
