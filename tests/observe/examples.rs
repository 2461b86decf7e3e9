//! The examples of the documentation, which are what the judges are configured with.

use std::path::{Path, PathBuf};

/// The folder `docs`.
pub(crate) fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// The example on the page about observability that begins with the comment `# NAME`, with other words in place of some.
pub(crate) fn example(name: &str, replaced: &[(&str, &str)]) -> String {
    let page = docs().join("src/observability.md");
    let page = std::fs::read_to_string(page).expect("the page about observability");
    let begin = format!("```yaml\n# {name}\n");
    let (_, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("there is no example {name}"));
    let (text, _) = rest.split_once("```").expect("an example has an end");
    let mut text = text.to_owned();
    for (from, to) in replaced {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// The `spec` of an example of a configuration, for the middle of another one.
pub(crate) fn spec(name: &str, replaced: &[(&str, &str)]) -> String {
    let text = example(name, replaced);
    let (_, spec) = text.split_once("spec:\n").expect("a configuration has a spec");
    spec.to_owned()
}
