//! Words of the newer syntax in a policy that has not asked for it.
//!
//! OPA refuses them. The engine takes them for names, and `allow if { false }` for a rule that always holds: it would let
//! everything through.

const KEYWORDS: [&str; 3] = ["if", "in", "every"];

/// The first such word, and its line.
pub(super) fn keyword_without_import(rego: &str) -> Option<(usize, &'static str)> {
    let (mut before, mut is_import) = ("", false);
    let mut found = None;
    for (line, word) in words(rego) {
        // What stands in an import belongs to it, and after a dot to a name.
        is_import |= word == "rego.v1" && before == "import";
        is_import |= before == "import" && word.starts_with("future.keywords");
        let keyword = KEYWORDS.into_iter().find(|keyword| *keyword == word);
        found = found.or_else(|| keyword.map(|keyword| (line, keyword)));
        before = word;
    }
    found.filter(|_| !is_import)
}

/// The names in a policy, dots included, with their lines: not those in texts and comments.
pub(super) fn words(rego: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut rest, mut line) = (rego, 1);
    std::iter::from_fn(move || {
        while let Some(first) = rest.chars().next() {
            let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '.';
            let length = match first {
                '#' => rest.find('\n').unwrap_or(rest.len()),
                '"' => quoted(rest),
                '`' => rest[1..].find('`').map_or(rest.len(), |end| end + 2),
                first if is_word(first) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
                other => other.len_utf8(),
            };
            let (taken, left) = rest.split_at(length);
            let at = line;
            line += taken.matches('\n').count();
            rest = left;
            if is_word(first) {
                return Some((at, taken));
            }
        }
        None
    })
}

/// The length of a text that begins here.
fn quoted(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text[1..].find(|letter| {
        let is_end = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords() {
        for (rego, wanted) in [
            ("package http\nallow if { true }", Some((2, "if"))),
            ("package http\nallow { some x in [1] }", Some((2, "in"))),
            ("package http\n\n`a\nb`\nallow { every x }", Some((5, "every"))),
            ("package http\nimport rego.v1\nallow if { 1 in [1] }", None),
            ("package http\nimport future.keywords.if\nallow if { true }", None),
            (
                "package http\nimport data.rego.v1\nallow if { true }",
                Some((3, "if")),
            ),
            (
                "package http\n# if in\nallow { x := \"if \\\" in\"; y := `if`; input.if; diff }",
                None,
            ),
            ("\"", None),
            ("`", None),
            ("# import rego.v1\nif", Some((2, "if"))),
            ("é if", Some((1, "if"))),
        ] {
            assert_eq!(keyword_without_import(rego), wanted, "{rego}");
        }
    }
}
