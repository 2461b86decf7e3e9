//! Queries and forms, as Go reads and writes them.

use super::escaped;

/// Names and values of a query. A pair with a bad escape or a semicolon is dropped, as in Go.
pub(crate) fn pairs(query: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    parts(query).filter_map(pair).collect()
}

/// The same; nothing if there is a bad pair.
pub(crate) fn all_pairs(query: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    parts(query).map(pair).collect()
}

fn parts(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&').filter(|part| !part.is_empty())
}

fn pair(pair: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if pair.contains(&b';') {
        return None;
    }
    let at = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = pair.split_at(at.unwrap_or(pair.len()));
    Some((unescape(name)?, unescape(value.get(1..).unwrap_or_default())?))
}

/// A query of names and values, sorted by name.
pub(crate) fn query_of(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> String {
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escape_query(name), escape_query(value)))
        .collect();
    pairs.join("&")
}

/// A name or a value as it stands in a query, and in a form.
pub(crate) fn escape_query(text: impl AsRef<[u8]>) -> String {
    let as_it_is = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~ ".contains(&byte);
    escaped(text.as_ref(), as_it_is).replace(' ', "+")
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'%' => {
                out.push(digit(text.get(at + 1))? << 4 | digit(text.get(at + 2))?);
                at += 2;
            }
            b'+' => out.push(b' '),
            other => out.push(*other),
        }
        at += 1;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        for (query, wanted) in [
            ("b=2&a=1&a=0", "a=1&a=0&b=2"),
            ("a=%41+b&&c", "a=A+b&c="),
            ("bad=%4&x;y=1&ok", "ok="),
            ("a=~%2F*", "a=~%2F%2A"),
        ] {
            assert_eq!(query_of(pairs(query.as_bytes())), wanted, "{query}");
        }
    }
}
