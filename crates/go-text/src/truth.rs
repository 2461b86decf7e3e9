//! What Dapr takes for a yes: in variables, in the metadata of components and in the metadata of calls.

/// Whether a value says yes. Anything else is a no, what nobody knows too. White space around it and its case do not
/// count.
pub fn is_truthy(value: impl AsRef<[u8]>) -> bool {
    const YES: [&[u8]; 6] = [b"y", b"yes", b"true", b"t", b"on", b"1"];
    let value = value.as_ref().trim_ascii();
    YES.iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_yes() {
        for text in ["y", "YES", "true", "T", "on", "1", " true ", "\tOn\n"] {
            assert!(is_truthy(text), "{text:?}");
        }
        for text in ["", "no", "false", "0", "2", "yess", "tr ue"] {
            assert!(!is_truthy(text), "{text:?}");
        }
        assert!(!is_truthy(b"\xff"));
    }
}
