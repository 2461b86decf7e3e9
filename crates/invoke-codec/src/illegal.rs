//! Where base64 is none, as Go's `encoding/base64` tells it: users find the byte.

/// The place of the first byte that cannot stand where it stands. `text` must be one that is refused.
///
/// What gRPC for Go does with the length decides about padding: a multiple of four is padded, anything else is not.
pub(crate) fn place_of(text: &[u8]) -> usize {
    let is_padded = text.len().is_multiple_of(4);
    let mut at = 0;
    loop {
        for digit in 0..4 {
            let Some(byte) = text.get(at) else {
                // Two or three digits may end a text without padding.
                return at - digit;
            };
            at += 1;
            if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') {
                continue;
            }
            if *byte != b'=' || !is_padded || digit < 2 {
                return at - 1;
            }
            if digit == 2 {
                match text.get(at) {
                    Some(b'=') => at += 1,
                    Some(_) => return at - 1,
                    None => return text.len(),
                }
            }
            // What comes after the padding is too much.
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_go() {
        for (text, wanted) in [
            ("*", 0),
            ("YWI*", 3),
            ("Y", 0),
            ("YWJjZ", 4),
            ("YWI=YWI=", 4),
            ("Y===", 1),
            ("YQ=", 2),
            ("YW=I", 2),
            ("YWIx=", 4),
            ("YWJj*WJj", 4),
            ("=", 0),
            ("====", 0),
            ("YWI= ", 3),
        ] {
            assert_eq!(place_of(text.as_bytes()), wanted, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_place(text in "[A-Za-z0-9+/=* ]{0,20}") {
            proptest::prop_assert!(place_of(text.as_bytes()) <= text.len());
        }
    }
}
