//! Regular expressions as Go reads them.
//!
//! The syntax is nearly that of [`regex`]. What differs is put right before: classes like `\d` know ASCII only, `[`
//! stands for itself in a class, and `\Q…\E` quotes. Both run in time that is linear in the text.

use regex::bytes::{Regex, RegexBuilder};

/// As much memory as a compiled expression may take, in bytes.
const SIZE: usize = 1 << 20;

/// Compiles an expression; the error begins as Go's does.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translated(pattern).map_err(|Nested(operators)| {
        format!("error parsing regexp: invalid nested repetition operator: `{operators}`")
    })?;
    let built = RegexBuilder::new(&translated)
        .size_limit(SIZE)
        .octal(true)
        .build();
    built.map_err(|error| {
        let said = error.to_string();
        let last = said.lines().last().unwrap_or_default();
        let why = last.strip_prefix("error: ").unwrap_or(last);
        format!("error parsing regexp: {why}: `{pattern}`")
    })
}

/// Operators of repetition that follow each other, which is an error in Go.
struct Nested(String);

fn translated(pattern: &str) -> Result<String, Nested> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    // Where a class begins its first `]` stands for itself.
    let mut class: Option<bool> = None;
    // The operator of repetition that ends here.
    let mut last = "";
    while let Some(character) = rest.chars().next() {
        let mut taken = character.len_utf8();
        let is_first = class == Some(true) && character != '^';
        if let (Some(length), None) = (repetition(rest), class) {
            if !last.is_empty() {
                return Err(Nested(format!("{last}{}", &rest[..length])));
            }
            last = &rest[..length];
            out.push_str(last);
            rest = &rest[length..];
            continue;
        }
        last = "";
        match (character, class) {
            // No number of times: it stands for itself.
            ('{', None) => out.push_str("\\{"),
            ('\\', _) => taken += escape(&rest[1..], class.is_some(), &mut out),
            ('[', None) => {
                out.push('[');
                class = Some(true);
            }
            ('[', Some(_)) => match posix(rest) {
                Some(length) => {
                    out.push_str(&rest[..length]);
                    taken = length;
                }
                None => out.push_str("\\["),
            },
            (']', Some(true)) => out.push_str("\\]"),
            (']', Some(false)) => {
                out.push(']');
                class = None;
            }
            ('&' | '~', Some(_)) => {
                out.push('\\');
                out.push(character);
            }
            (character, _) => out.push(character),
        }
        if is_first && class == Some(true) {
            class = Some(false);
        }
        rest = &rest[taken..];
    }
    Ok(out)
}

/// How long the operator of repetition is that a text begins with, the question mark of the lazy ones included.
fn repetition(text: &str) -> Option<usize> {
    let length = match text.as_bytes().first()? {
        b'*' | b'+' | b'?' => 1,
        b'{' => {
            let (counts, _) = text[1..].split_once('}')?;
            let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
            let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if least.is_empty() || !are_digits(least) || !are_digits(most) {
                return None;
            }
            counts.len() + 2
        }
        _ => return None,
    };
    Some(length + usize::from(text[length..].starts_with('?')))
}

/// `[:alpha:]` in a class.
fn posix(rest: &str) -> Option<usize> {
    let name = rest.strip_prefix("[:")?;
    name.find(":]").map(|end| end + 4)
}

/// What follows a backslash; the answer is how many of its bytes were taken.
fn escape(rest: &str, in_class: bool, out: &mut String) -> usize {
    let Some(character) = rest.chars().next() else {
        out.push('\\');
        return 0;
    };
    let ascii = match character {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => "[\\t\\n\\f\\r ]",
        'S' => "[^\\t\\n\\f\\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        'b' if !in_class => "(?-u:\\b)",
        'B' if !in_class => "(?-u:\\B)",
        'Q' if !in_class => {
            let (quoted, length) = match rest[1..].split_once("\\E") {
                Some((quoted, _)) => (quoted, quoted.len() + 3),
                None => (&rest[1..], rest.len()),
            };
            out.push_str(&regex::escape(quoted));
            return length;
        }
        _ => {
            out.push('\\');
            out.push(character);
            return character.len_utf8();
        }
    };
    out.push_str(ascii);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches() {
        for (pattern, text, wanted) in [
            ("", "anything", true),
            ("^/v1", "/v1.0", true),
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{661}", false),
            (r"^[\d_]+$", "1_2", true),
            (r"^[\D]$", "a", true),
            (r"^[^\d]$", "1", false),
            (r"^\w+$", "é", false),
            (r"\bx\b", "a x b", true),
            (r"^[a[]$", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]a]+$", "bc", true),
            (r"^[^]a]+$", "]", false),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[a&&b]+$", "&", true),
            (r"^[a~~b]+$", "~", true),
            (r"^\Qa.b\E.$", "a.bc", true),
            (r"^\Qa.b\E.$", "axbc", false),
            (r"\Q[", "[", true),
            (r"(?i)ABC", "abc", true),
            (r"^.$", "é", true),
            (r"\101", "A", true),
            (r"^a{$", "a{", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{2}$", "aa", true),
            (r"^a{1,}?$", "aa", true),
            (r"^(?:a?)??$", "a", true),
            (r"^[*+]+$", "*+", true),
            (r"^\*\*$", "**", true),
        ] {
            let regex = compile(pattern).unwrap();
            assert_eq!(regex.is_match(text.as_bytes()), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_none() {
        for (pattern, operators) in [
            ("a**", "**"),
            ("a+*b", "+*"),
            ("a{2}{3}", "{2}{3}"),
            ("a???", "???"),
        ] {
            let wanted = format!("error parsing regexp: invalid nested repetition operator: `{operators}`");
            assert_eq!(compile(pattern).unwrap_err(), wanted);
        }
        // A few bytes that would take much memory.
        assert!(compile("(?:a{1000}){1000}").unwrap_err().contains("size limit"));
        for pattern in ["(", "[", r"\", "(?P<n", "a{2000000}", "(?=a)", "*a", "(?P<n"] {
            let said = compile(pattern).unwrap_err();
            assert!(said.starts_with("error parsing regexp: "), "{said}");
            assert!(said.ends_with(&format!(": `{pattern}`")), "{said}");
        }
    }
}
