//! The command line of `daprd check`.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt};

/// What is shown to whoever asks.
pub const USAGE: &str = "\
Checks resources without running a sidecar, and tells every problem at once.

Usage: daprd check [OPTIONS] [FILE or FOLDER]...

  --config FILE            a configuration; several are laid one over the other
  --resources-path FOLDER  a folder of resources, as the sidecar is given it
  --app-id ID              the app: what is not in its scope is not judged
  --namespace NAME         the namespace of the app (default: the variable NAMESPACE)
  --app-protocol PROTOCOL  what the app speaks (default: http)
  --mode MODE              standalone (default) or kubernetes, where the operator knows the secrets of the cluster
  --apps ID,ID...          the apps that there are: a target or a caller that is none of them is told
  --output FORMAT          text (default), json or sarif
  --deny-warnings          warnings count as problems

Exit code: 0 when there is no problem, 1 when there is one, 2 when the command line is wrong.
";

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// A line each.
    #[default]
    Text,
    /// An array of objects.
    Json,
    /// SARIF 2.1.0, which code hosts show beside the lines.
    Sarif,
}

/// What is to be checked, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub paths: Vec<PathBuf>,
    pub configurations: Vec<PathBuf>,
    pub folders: Vec<PathBuf>,
    pub app_id: String,
    pub namespace: Option<String>,
    pub is_grpc: bool,
    pub is_kubernetes: bool,
    pub apps: Vec<String>,
    pub output: Output,
    pub denies_warnings: bool,
}

/// Why there is nothing to check.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Help,
    Wrong(String),
}

/// Reads what follows `check`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Arguments, Ended> {
    let mut parsed = Arguments::default();
    let mut parser = lexopt::Parser::from_args(args);
    let wrong = |error: lexopt::Error| Ended::Wrong(error.to_string());
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Long("config") => parsed.configurations.push(text(&mut parser)?.into()),
            Long("resources-path" | "components-path") => parsed.folders.push(text(&mut parser)?.into()),
            Long("app-id") => parsed.app_id = text(&mut parser)?,
            Long("namespace") => parsed.namespace = Some(text(&mut parser)?),
            Long("app-protocol") => {
                parsed.is_grpc = one_of(
                    &text(&mut parser)?,
                    "protocol",
                    &["grpc", "grpcs", "http", "https", "h2c"],
                )? < 2;
            }
            Long("mode") => {
                let modes = ["standalone", "kubernetes"];
                parsed.is_kubernetes = one_of(&text(&mut parser)?, "mode", &modes)? == 1;
            }
            Long("apps") => parsed
                .apps
                .extend(text(&mut parser)?.split(',').map(|app| app.trim().to_owned())),
            Long("output") => {
                let outputs = [Output::Text, Output::Json, Output::Sarif];
                parsed.output = outputs[one_of(&text(&mut parser)?, "output", &["text", "json", "sarif"])?];
            }
            Long("deny-warnings") => parsed.denies_warnings = true,
            Long("help") | Short('h') => return Err(Ended::Help),
            Value(path) => parsed.paths.push(path.into()),
            other => return Err(wrong(other.unexpected())),
        }
    }
    if parsed.paths.is_empty() && parsed.configurations.is_empty() && parsed.folders.is_empty() {
        return Err(Ended::Wrong("there is nothing to check".to_owned()));
    }
    Ok(parsed)
}

/// The value of the option that was read last.
fn text(parser: &mut lexopt::Parser) -> Result<String, Ended> {
    let value = parser.value().and_then(ValueExt::string);
    value.map_err(|error| Ended::Wrong(error.to_string()))
}

/// Which of the known words it is.
fn one_of(word: &str, what: &str, known: &[&str]) -> Result<usize, Ended> {
    let position = known.iter().position(|known| *known == word);
    position.ok_or_else(|| {
        let text = format!("unknown {what} {word:?}; expected one of {}", known.join(", "));
        Ended::Wrong(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Arguments, Ended> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn all_options() {
        let given = parsed(&[
            "a.yaml",
            "--config=c.yaml",
            "--resources-path",
            "r",
            "--app-id",
            "me",
            "--namespace=n",
            "--app-protocol=grpc",
            "--mode=kubernetes",
            "--apps",
            "a, b",
            "--output=sarif",
            "--deny-warnings",
            "--",
            "--odd",
        ]);
        let wanted = Arguments {
            paths: vec!["a.yaml".into(), "--odd".into()],
            configurations: vec!["c.yaml".into()],
            folders: vec!["r".into()],
            app_id: "me".to_owned(),
            namespace: Some("n".to_owned()),
            is_grpc: true,
            is_kubernetes: true,
            apps: vec!["a".to_owned(), "b".to_owned()],
            output: Output::Sarif,
            denies_warnings: true,
        };
        assert_eq!(given, Ok(wanted));
    }

    #[test]
    fn wrong_use() {
        for (args, wanted) in [
            (&[][..], "there is nothing to check"),
            (&["--deny-warnings"], "there is nothing to check"),
            (
                &["--output", "xml"],
                "unknown output \"xml\"; expected one of text, json, sarif",
            ),
            (&["--nope"], "invalid option '--nope'"),
            (&["--config"], "missing argument for option '--config'"),
            (&["-x"], "invalid option '-x'"),
            (
                &["--deny-warnings=1"],
                "unexpected argument for option '--deny-warnings': \"1\"",
            ),
        ] {
            assert_eq!(parsed(args), Err(Ended::Wrong(wanted.to_owned())), "{args:?}");
        }
        assert_eq!(parsed(&["-h"]), Err(Ended::Help));
    }
}
