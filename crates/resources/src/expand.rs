//! Variables in the text of a configuration file.

use std::ops::Range;

/// Replaces `$NAME` and `${NAME}` by what `lookup` says, nothing by nothing, as Go's `os.Expand` does it: `${}` and
/// an unclosed `${` are dropped; after `$` one of `* # $ @ ! ? -` or a digit is a name by itself; any other `$`
/// stays. `${A:-b}` is no default: it looks for a variable of that whole name.
pub fn expand_environment(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    expand(text, lookup, |_| {})
}

/// What stands in place of a variable.
pub(crate) struct Replaced<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Whether it is set.
    pub(crate) is_set: bool,
    /// Where it stood in the text, in bytes from the beginning.
    pub(crate) from: Range<usize>,
    /// Where its value stands in what was made of the text.
    pub(crate) to: Range<usize>,
}

/// The same; tells of each variable.
pub(crate) fn expand<'a>(
    text: &'a str,
    lookup: impl Fn(&str) -> Option<String>,
    mut tell: impl FnMut(Replaced<'a>),
) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, used) = variable(after);
        let begin = expanded.len();
        let mut is_set = true;
        match name {
            Some(name) if !name.is_empty() => match lookup(name) {
                Some(value) => expanded.push_str(&value),
                None => is_set = false,
            },
            Some(_) => {}
            None => expanded.push('$'),
        }
        let from = text.len() - after.len() - 1;
        tell(Replaced {
            name: name.unwrap_or_default(),
            is_set,
            from: from..from + 1 + used,
            to: begin..expanded.len(),
        });
        rest = &after[used..];
    }
    expanded.push_str(rest);
    expanded
}

/// The name after a dollar sign, and how many bytes it took. No name: the sign stays; an empty one: it goes.
fn variable(text: &str) -> (Option<&str>, usize) {
    let Some(first) = text.chars().next() else {
        return (None, 0);
    };
    if first == '{' {
        return match text.find('}') {
            Some(end) => (Some(&text[1..end]), end + 1),
            // Only the brace is dropped when it is never closed.
            None => (Some(""), 1),
        };
    }
    if matches!(first, '*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9') {
        return (Some(&text[..1]), 1);
    }
    let end = text
        .find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .unwrap_or(text.len());
    if end == 0 {
        (None, 0)
    } else {
        (Some(&text[..end]), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        expand_environment(text, |name| match name {
            "A" => Some("1".to_owned()),
            "A_b2" => Some("2".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn expansion() {
        for (text, wanted) in [
            ("x", "x"),
            ("$A", "1"),
            ("${A}", "1"),
            ("<$A_b2>", "<2>"),
            ("$A-$A", "1-1"),
            ("${none}x", "x"),
            ("${}x", "x"),
            ("${A", "A"),
            ("$1x", "x"),
            ("$$A", "A"),
            ("${A:-b}", ""),
            ("cost: 5$", "cost: 5$"),
            ("$ x $\"y\" $/", "$ x $\"y\" $/"),
            ("é$Aé", "é1é"),
        ] {
            assert_eq!(of(text), wanted, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_expanded(text in "[$\\{\\}A-C_ é*#1-]{0,20}") {
            let _ = of(&text);
        }
    }
}
