//! `io.jwt.decode`, which the engine does not have and policies for HTTP need: a token is read, not verified.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regorus::{Engine, Value};

/// Teaches it to an engine.
pub(super) fn add(engine: &mut Engine) -> anyhow::Result<()> {
    let decode = |arguments: Vec<Value>| {
        // What is no token has no parts: the expression that asks for them is undefined.
        let token = arguments.first().and_then(|token| token.as_string().ok());
        Ok(token.and_then(|token| decoded(token)).unwrap_or(Value::Undefined))
    };
    engine.add_extension("io.jwt.decode".to_owned(), 1, Box::new(decode))
}

/// Its header, its payload, and its signature in hexadecimal digits.
pub(super) fn decoded(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let mut next = || URL_SAFE_NO_PAD.decode(parts.next()?.trim_end_matches('=')).ok();
    let (header, payload, signature) = (next()?, next()?, next()?);
    if parts.next().is_some() {
        return None;
    }
    let object = |json: Vec<u8>| {
        let value = Value::from_json_str(&String::from_utf8(json).ok()?).ok()?;
        value.as_object().is_ok().then_some(value)
    };
    let digits = |byte: &u8| {
        let digit = |half| char::from_digit(u32::from(half), 16);
        [digit(byte >> 4), digit(byte & 15)]
    };
    let signature: String = signature.iter().flat_map(digits).flatten().collect();
    Some(Value::from(vec![
        object(header)?,
        object(payload)?,
        signature.into(),
    ]))
}
