//! Reading the command line, with the habits of Go's `pflag`.

use std::collections::HashMap;
use std::ffi::OsString;

use super::table::{FLAGS, Flag, Kind, usage};

/// What the process does besides being a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Print the version.
    Version,
    /// Print version and commit.
    BuildInfo,
    /// Wait for a sidecar on this host.
    Wait,
    /// Be a sidecar.
    Run,
}

/// The flags as they were given. Values are checked for their type, nothing more.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    given: HashMap<&'static str, Vec<String>>,
    /// Lines for the standard error: flags that are deprecated.
    pub warnings: Vec<String>,
}

/// A command line that ends the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What goes to the standard error.
    pub stderr: String,
    /// The exit code.
    pub code: u8,
}

/// Reads the arguments after the name of the program.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Flags, Ended> {
    let wrong = |text: String| Ended {
        stderr: format!("{}{text}\n", usage()),
        code: 2,
    };
    let mut flags = Flags::default();
    let mut rest = args.into_iter();
    let mut next = || {
        rest.next().map(|arg| {
            let arg = arg
                .into_string()
                .map_err(|arg| wrong(format!("argument is not UTF-8: {}", arg.display())))?;
            Ok::<_, Ended>(doubled(arg))
        })
    };
    while let Some(arg) = next() {
        let arg = arg?;
        if arg == "--" {
            break;
        }
        let Some(name) = arg.strip_prefix("--") else {
            match arg.strip_prefix('-') {
                Some("h") => {
                    return Err(Ended {
                        stderr: usage(),
                        code: 0,
                    });
                }
                Some(short) if !short.is_empty() => {
                    let first = short.chars().next().unwrap_or_default();
                    return Err(wrong(format!("unknown shorthand flag: {first:?} in {arg}")));
                }
                // Anything else is ignored, as it always was.
                _ => continue,
            }
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(wrong(format!("bad flag syntax: {arg}")));
        }
        if name == "help" {
            return Err(Ended {
                stderr: usage(),
                code: 0,
            });
        }
        let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) else {
            return Err(wrong(format!("unknown flag: --{name}")));
        };
        let value = match (value, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true".to_owned(),
            (None, _) => match next() {
                Some(value) => value?,
                None => return Err(wrong(format!("flag needs an argument: --{name}"))),
            },
        };
        check(flag, &value).map_err(|cause| {
            wrong(format!(
                "invalid argument {} for \"--{name}\" flag: {cause}",
                go_text::quote(&value)
            ))
        })?;
        flags.put(flag, value);
    }
    Ok(flags)
}

/// A long flag may be written with one dash.
fn doubled(arg: String) -> String {
    let is_single = arg.len() > 2 && arg.starts_with('-') && !arg.starts_with("--");
    // A negative number is a value.
    let is_number = arg[usize::from(!arg.is_empty())..]
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_single && !is_number {
        format!("-{arg}")
    } else {
        arg
    }
}

fn check(flag: &Flag, value: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Bool => judged(go_text::parse_bool(value)),
        Kind::Int => judged(go_text::parse_int(value)),
        Kind::Uint => judged(go_text::parse_uint(value)),
        Kind::Duration => judged(go_text::parse_duration(value)),
        Kind::Strings => judged(csv(value)),
        Kind::String => Ok(()),
    }
}

fn judged<T, E: ToString>(read: Result<T, E>) -> Result<(), String> {
    read.map(drop).map_err(|error| error.to_string())
}

/// One record of comma-separated values, with quotes.
fn csv(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut characters = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            '"' => return Err("parse error on line 1, column 1: bare \" in non-quoted-field".to_owned()),
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if is_quoted {
        return Err("parse error on line 1, column 1: extraneous or missing \" in quoted-field".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

impl Flags {
    fn put(&mut self, flag: &'static Flag, value: String) {
        if let Some(hint) = flag.deprecated {
            let warning = format!("Flag --{} has been deprecated, {hint}", flag.name);
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        let values = self.given.entry(flag.name).or_default();
        if flag.kind != Kind::Strings {
            values.clear();
        }
        values.push(value);
    }

    /// Whether a flag was given at all.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The text of a flag, its default if it was not given.
    pub fn text(&self, name: &str) -> &str {
        let given = self
            .given
            .get(name)
            .and_then(|values| values.last())
            .map(String::as_str);
        given.unwrap_or_else(|| {
            FLAGS
                .iter()
                .find(|flag| flag.name == name)
                .map_or("", |flag| flag.default)
        })
    }

    /// A boolean flag.
    pub fn is_on(&self, name: &str) -> bool {
        go_text::parse_bool(self.text(name)).unwrap_or_default()
    }

    /// A number.
    pub fn int(&self, name: &str) -> i64 {
        go_text::parse_int(self.text(name)).unwrap_or_default()
    }

    /// A duration in nanoseconds.
    pub fn duration(&self, name: &str) -> i64 {
        go_text::parse_duration(self.text(name)).unwrap_or_default()
    }

    /// A list, all the times it was given together.
    pub fn list(&self, name: &str) -> Vec<String> {
        let given = self.given.get(name).into_iter().flatten();
        given.flat_map(|value| csv(value).unwrap_or_default()).collect()
    }

    /// What the process is to do.
    pub fn mode(&self) -> Mode {
        match () {
            () if self.is_on("version") => Mode::Version,
            () if self.is_on("build-info") => Mode::BuildInfo,
            () if self.is_on("wait") => Mode::Wait,
            () => Mode::Run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &[&str]) -> Result<Flags, Ended> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn forms() {
        let flags = of(&[
            "--app-id=a",
            "-app-port",
            "80",
            "--config",
            "x,\"y,z\"",
            "--config=w",
            "ignored",
            "--enable-mtls",
            "false",
            "--app-max-concurrency",
            "-10",
            "--",
            "--nope",
        ])
        .unwrap();
        assert_eq!((flags.text("app-id"), flags.text("app-port")), ("a", "80"));
        assert_eq!(flags.list("config"), ["x", "y,z", "w"]);
        assert!(flags.is_on("enable-mtls"));
        assert_eq!(flags.int("app-max-concurrency"), -10);
        assert_eq!(flags.text("dapr-http-port"), "3500");
        assert!(!flags.is_given("dapr-http-port"));
        assert_eq!(
            of(&["--app-id", "--app-port", "80"]).unwrap().text("app-id"),
            "--app-port"
        );
        assert_eq!(of(&["--app-id=a", "--app-id=b"]).unwrap().text("app-id"), "b");
    }

    #[test]
    fn mistakes() {
        for (args, wanted) in [
            (&["--nope"][..], "unknown flag: --nope"),
            (&["-nope=1"], "unknown flag: --nope"),
            (&["-c"], "unknown shorthand flag: 'c' in -c"),
            (&["--app-id"], "flag needs an argument: --app-id"),
            (&["--=x"], "bad flag syntax: --=x"),
            (
                &["--app-max-concurrency=x"],
                "invalid argument \"x\" for \"--app-max-concurrency\" flag: \
                 strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                &["--dapr-block-shutdown-duration=5"],
                "invalid argument \"5\" for \"--dapr-block-shutdown-duration\" flag: \
                 time: missing unit in duration \"5\"",
            ),
            (
                &["--enable-mtls=maybe"],
                "invalid argument \"maybe\" for \"--enable-mtls\" flag: \
                 strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                &["--scheduler-job-streams=-1"],
                "invalid argument \"-1\" for \"--scheduler-job-streams\" flag: \
                 strconv.ParseUint: parsing \"-1\": invalid syntax",
            ),
        ] {
            let ended = of(args).unwrap_err();
            assert_eq!(ended.code, 2);
            assert!(ended.stderr.starts_with("Usage of daprd:\n"));
            assert_eq!(ended.stderr.lines().last(), Some(wanted), "{args:?}");
        }
    }

    #[test]
    fn help() {
        for args in [&["--help"][..], &["-h"], &["-help"], &["--app-id=x", "--help"]] {
            let ended = of(args).unwrap_err();
            assert_eq!((ended.code, ended.stderr.as_str()), (0, usage().as_str()));
        }
    }

    #[test]
    fn deprecated_flags_work_and_say_so() {
        let flags = of(&["--app-ssl", "--components-path=x", "--version"]).unwrap();
        assert_eq!(
            flags.warnings,
            [
                "Flag --app-ssl has been deprecated, use '--app-protocol https|grpcs'",
                "Flag --components-path has been deprecated, use --resources-path",
            ]
        );
        assert_eq!(flags.mode(), Mode::Version);
    }

    proptest::proptest! {
        #[test]
        fn any_arguments_are_judged(args in proptest::collection::vec("[-=a-z0-9\",]{0,12}", 0..6)) {
            let _ = parse(args.into_iter().map(OsString::from));
        }
    }
}
