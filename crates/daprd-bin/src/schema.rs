//! `daprd schema`: the JSON Schemas of the resources, for editors.

use std::ffi::OsString;
use std::process::ExitCode;

use resources::{SCHEMA_KINDS, schema, schema_of_all};

/// Writes the schema of a kind, or one for all kinds.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    say: impl FnOnce(&str),
    complain: impl FnOnce(&str),
) -> ExitCode {
    let usage = format!(
        "Writes the JSON Schema of a kind of resource, or one for all kinds.\n\nUsage: daprd schema [{}]\n",
        SCHEMA_KINDS.join(" | ")
    );
    let args: Vec<String> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let schema = match &args[..] {
        [] => schema_of_all(),
        [help] if ["-h", "--help"].contains(&help.as_str()) => {
            say(&usage);
            return ExitCode::SUCCESS;
        }
        [kind] => {
            let known = SCHEMA_KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind));
            match known.and_then(|known| schema(known)) {
                Some(schema) => schema,
                None => {
                    complain(&format!("{usage}\nthere is no schema of {kind:?}\n"));
                    return ExitCode::from(2);
                }
            }
        }
        _ => {
            complain(&format!("{usage}\nexpected one kind at most\n"));
            return ExitCode::from(2);
        }
    };
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    say(&text);
    ExitCode::SUCCESS
}
