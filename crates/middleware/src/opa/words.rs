//! Words of the newer syntax in a policy that has not asked for it.
//!
//! OPA refuses them. The engine takes them for names, and `allow if { false }` for a rule that always holds: it would let
//! everything through.

const KEYWORDS: [&str; 4] = ["if", "in", "every", "contains"];
/// After these an expression begins, so that `contains` there is the function.
const BEFORE_EXPRESSIONS: [&str; 7] = ["not", "if", "in", "else", "as", "with", "default"];

/// A name in a policy, dots included.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    line: usize,
    pub(super) text: &'a str,
    /// What follows it.
    rest: &'a str,
}

impl Word<'_> {
    /// Whether `contains` stands between what is to contain and what is contained. A function has that name, too.
    fn is_infix(&self, before: &Word<'_>) -> bool {
        if !self.rest.trim_start().starts_with('(') {
            return true;
        }
        let between = before
            .rest
            .len()
            .saturating_sub(self.rest.len() + self.text.len());
        let is_next = before.rest.get(..between).is_some_and(|between| {
            !between.is_empty() && between.chars().all(|letter| matches!(letter, ' ' | '\t'))
        });
        // Nothing stands before the first word.
        is_next && !before.text.is_empty() && !BEFORE_EXPRESSIONS.contains(&before.text)
    }

    /// Whether an import of this name brings a keyword. What is written in another way, such as
    /// `future.keywords["in"]`, brings none here: the policy is refused, and not misread.
    fn brings(&self, keyword: &str) -> bool {
        if self.rest.trim_start().starts_with(['[', '.']) {
            return false;
        }
        match self.text {
            "rego.v1" | "future.keywords" => true,
            "future.keywords.every" => matches!(keyword, "every" | "in"),
            other => other.strip_prefix("future.keywords.") == Some(keyword),
        }
    }
}

/// The first such word that no import before it brings, and its line.
pub(super) fn keyword_without_import(rego: &str) -> Option<(usize, &'static str)> {
    let mut missing = KEYWORDS.to_vec();
    let mut before = Word {
        line: 1,
        text: "",
        rest: rego,
    };
    words(rego).find_map(|word| {
        if before.text == "import" {
            missing.retain(|keyword| !word.brings(keyword));
        }
        let keyword = missing.iter().find(|keyword| **keyword == word.text);
        let keyword = keyword.filter(|keyword| **keyword != "contains" || word.is_infix(&before));
        before = word;
        keyword.map(|keyword| (word.line, *keyword))
    })
}

/// The names in a policy: not those in texts and comments.
pub(super) fn words(rego: &str) -> impl Iterator<Item = Word<'_>> {
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
            let (text, left) = rest.split_at(length);
            let at = line;
            line += text.matches('\n').count();
            rest = left;
            if is_word(first) {
                return Some(Word { line: at, text, rest });
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
            (" contains(\"a\", \"b\")", None),
            // One import brings one keyword.
            (
                "package http\nimport future.keywords.in\nallow if { false }",
                Some((3, "if")),
            ),
            (
                "package http\nimport future.keywords.if\nallow if { 1 in [1] }",
                Some((3, "in")),
            ),
            (
                "package http\nimport future.keywords.in\nallow { every x in [1] { x } }",
                Some((3, "every")),
            ),
            (
                "package http\nimport future.keywords.every\nallow { every x in [1] { x } }",
                None,
            ),
            (
                "import future.keywords.if\nimport future.keywords.in\nallow if { 1 in [1] }",
                None,
            ),
            (
                "import future.keywords\nallow if { every x in [1] { x } }\na contains 1",
                None,
            ),
            (
                "import future.keywords[\"in\"]\nallow if { false }",
                Some((2, "if")),
            ),
            ("import rego.v1.x\nallow if { false }", Some((2, "if"))),
            ("import rego.v1 [\"x\"]\nallow if { false }", Some((2, "if"))),
            ("import future.keywords.iff\nallow if { false }", Some((2, "if"))),
            ("allow if { false }\nimport rego.v1", Some((1, "if"))),
            // A keyword between, a function in front of parentheses.
            ("allow contains \"a\" { true }", Some((1, "contains"))),
            (
                "import future.keywords.if\nallow contains (\"a\") if { false }",
                Some((2, "contains")),
            ),
            (
                "import future.keywords.contains\nallow contains \"a\" { true }",
                None,
            ),
            ("import rego.v1\nallow contains \"a\" if { true }", None),
            ("import future.keywords.if\nallow if contains(\"a\", \"b\")", None),
            (
                "allow { not contains (input.x, \"a\"); contains(\"a\", \"b\")\ncontains(\"a\", \"b\") }",
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
