//! The `baggage` header (W3C Baggage): checked at the door, given back, passed on.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Its name.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

const MAX_BYTES: usize = 8192;
const MAX_MEMBERS: usize = 64;

/// Checks all lines together. `None` without baggage; the error says which member is wrong.
pub fn check(headers: &HeaderMap) -> Result<Option<HeaderValue>, String> {
    let mut lines = headers.get_all(BAGGAGE).iter();
    let joined = match (lines.next(), lines.next()) {
        (None, _) => return Ok(None),
        (Some(only), None) => only.clone(),
        _ => {
            let lines: Vec<&[u8]> = headers
                .get_all(BAGGAGE)
                .iter()
                .map(HeaderValue::as_bytes)
                .collect();
            HeaderValue::from_bytes(&lines.join(&b',')).map_err(|error| error.to_string())?
        }
    };
    let text = joined.to_str().map_err(|_| "invalid characters".to_owned())?;
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_BYTES {
        return Err(format!("baggage-string too large: {}", text.len()));
    }
    let members = text.split(',');
    if members.clone().count() > MAX_MEMBERS {
        return Err("too many list-members in baggage-string".to_owned());
    }
    for member in members {
        check_member(member)?;
    }
    Ok(Some(joined))
}

/// `key = value` with optional properties; the error is in the words of OpenTelemetry for Go.
fn check_member(member: &str) -> Result<(), String> {
    let pair = member.split(';').next().unwrap_or_default();
    let Some((key, value)) = pair.split_once('=') else {
        return Err(format!("invalid baggage list-member: {member:?}"));
    };
    let key = key.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if key.is_empty() || !key.bytes().all(is_token) {
        return Err(format!("invalid key: {key:?}"));
    }
    let is_octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
    if !value.trim().bytes().all(is_octet) {
        return Err(format!("invalid value: {value:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(BAGGAGE, line.parse().unwrap());
        }
        check(&headers).map(|baggage| baggage.map(|baggage| baggage.to_str().unwrap().to_owned()))
    }

    #[test]
    fn baggage() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(
            of(&["key1=value1,key2=value2"]),
            Ok(Some("key1=value1,key2=value2".into()))
        );
        assert_eq!(of(&["a=1", "b=2;prop=x"]), Ok(Some("a=1,b=2;prop=x".into())));
        assert_eq!(of(&["a=%20"]), Ok(Some("a=%20".into())));
        for (wrong, text) in [
            (
                "invalid-baggage",
                "invalid baggage list-member: \"invalid-baggage\"",
            ),
            ("=", "invalid key: \"\""),
            ("a b=1", "invalid key: \"a b\""),
            ("a=1 2", "invalid value: \"1 2\""),
        ] {
            assert_eq!(of(&[wrong]), Err(text.to_owned()));
        }
        assert!(of(&[&"a=1,".repeat(70)]).is_err());
        assert!(of(&[&format!("a={}", "x".repeat(9000))]).is_err());
    }
}
