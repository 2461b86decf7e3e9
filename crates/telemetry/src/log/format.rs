//! A line of the log, as text (logfmt) or as JSON, byte for byte as Go's logrus writes it for Dapr.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

/// The fields that every line has.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    pub(super) app_id: String,
    pub(super) instance: String,
    pub(super) version: &'static str,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i128),
    Bool(bool),
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    pub(super) time: SystemTime,
    pub(super) level: &'a str,
    pub(super) scope: &'a str,
    pub(super) message: &'a str,
    pub(super) fields: Vec<(&'a str, Value)>,
}

/// Writes one line, its end included.
pub(super) fn line(format: Format, constant: &Constant, record: Record<'_>) -> String {
    let time = rfc3339(record.time);
    let mut fields = record.fields;
    if !constant.app_id.is_empty() {
        fields.push(("app_id", Value::Text(constant.app_id.clone())));
    }
    fields.push(("instance", Value::Text(constant.instance.clone())));
    fields.push(("scope", Value::Text(record.scope.to_owned())));
    fields.push(("type", Value::Text("log".to_owned())));
    fields.push(("ver", Value::Text(constant.version.to_owned())));
    match format {
        Format::Text => text_line(&time, record.level, record.message, fields),
        Format::Json => {
            fields.push(("level", Value::Text(record.level.to_owned())));
            fields.push(("msg", Value::Text(record.message.to_owned())));
            fields.push(("time", Value::Text(time)));
            json_line(fields)
        }
    }
}

fn text_line(time: &str, level: &str, message: &str, mut fields: Vec<(&str, Value)>) -> String {
    fields.sort_by_key(|(name, _)| *name);
    let mut line = String::with_capacity(192 + message.len());
    let _ = write!(line, "time=\"{time}\" level={level}");
    if !message.is_empty() {
        line.push_str(" msg=");
        put_text(&mut line, message);
    }
    for (name, value) in fields {
        let _ = write!(line, " {name}=");
        match value {
            Value::Text(text) => put_text(&mut line, &text),
            Value::Number(number) => {
                let _ = write!(line, "{number}");
            }
            Value::Bool(value) => {
                let _ = write!(line, "{value}");
            }
        }
    }
    line.push('\n');
    line
}

/// A value is bare if it is nothing but these characters, else quoted as Go's `%q` quotes.
fn put_text(line: &mut String, text: &str) {
    let is_bare = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '/' | '@' | '^' | '+')
    };
    if text.chars().all(is_bare) {
        line.push_str(text);
        return;
    }
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{7}' => line.push_str("\\a"),
            '\u{8}' => line.push_str("\\b"),
            '\u{b}' => line.push_str("\\v"),
            '\u{c}' => line.push_str("\\f"),
            control if (control as u32) < 0x20 || control as u32 == 0x7f => {
                let _ = write!(line, "\\x{:02x}", control as u32);
            }
            control if control.is_control() => {
                let _ = write!(line, "\\u{:04x}", control as u32);
            }
            printable => line.push(printable),
        }
    }
    line.push('"');
}

fn json_line(mut fields: Vec<(&str, Value)>) -> String {
    fields.sort_by_key(|(name, _)| *name);
    let mut line = String::with_capacity(256);
    for (index, (name, value)) in fields.into_iter().enumerate() {
        line.push(if index == 0 { '{' } else { ',' });
        let _ = write!(line, "\"{name}\":");
        match value {
            Value::Text(text) => put_json(&mut line, &text),
            Value::Number(number) => {
                let _ = write!(line, "{number}");
            }
            Value::Bool(value) => {
                let _ = write!(line, "{value}");
            }
        }
    }
    line.push_str("}\n");
    line
}

fn put_json(line: &mut String, text: &str) {
    let plain = serde_json::Value::String(text.to_owned()).to_string();
    for character in plain.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(line, "\\u{:04x}", character as u32);
            }
            other => line.push(other),
        }
    }
}

/// RFC 3339 in UTC, with as many digits of a second as are not zero.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if since.subsec_nanos() > 0 {
        let digits = format!("{:09}", since.subsec_nanos());
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// A time as Go prints it.
pub(crate) fn go_time(time: SystemTime) -> String {
    rfc3339(time).replacen('T', " ", 1).replacen('Z', " +0000 UTC", 1)
}

/// The date of a day since 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years that
/// begin on the first of March, so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant() -> Constant {
        Constant {
            app_id: "myapp".into(),
            instance: "host1".into(),
            version: "edge",
        }
    }

    fn record<'a>(message: &'a str, fields: Vec<(&'a str, Value)>) -> Record<'a> {
        let time = UNIX_EPOCH + Duration::new(1_787_343_129, 123_456_789);
        Record {
            time,
            level: "info",
            scope: "dapr.runtime",
            message,
            fields,
        }
    }

    #[test]
    fn text() {
        assert_eq!(
            line(Format::Text, &constant(), record("app id: myapp", vec![])),
            "time=\"2026-08-21T20:12:09.123456789Z\" level=info msg=\"app id: myapp\" app_id=myapp \
             instance=host1 scope=dapr.runtime type=log ver=edge\n"
        );
        let odd = line(
            Format::Text,
            &constant(),
            record(
                "a\"b\\c\n<é>",
                vec![("size", Value::Number(5)), ("aa", Value::Text(String::new()))],
            ),
        );
        assert!(
            odd.contains(" msg=\"a\\\"b\\\\c\\n<é>\" aa= app_id=myapp "),
            "{odd}"
        );
        assert!(odd.contains(" scope=dapr.runtime size=5 type=log"), "{odd}");
    }

    #[test]
    fn json() {
        assert_eq!(
            line(
                Format::Json,
                &constant(),
                record("<a>", vec![("code", Value::Number(200))])
            ),
            "{\"app_id\":\"myapp\",\"code\":200,\"instance\":\"host1\",\"level\":\"info\",\
             \"msg\":\"\\u003ca\\u003e\",\"scope\":\"dapr.runtime\",\
             \"time\":\"2026-08-21T20:12:09.123456789Z\",\"type\":\"log\",\"ver\":\"edge\"}\n"
        );
    }

    #[test]
    fn times() {
        for (seconds, nanos, wanted) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 500_000_000, "2000-02-29T00:00:00.5Z"),
            (4_102_444_799, 1, "2099-12-31T23:59:59.000000001Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::new(seconds, nanos)), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_line_is_one_line(message in "\\PC*|[\\x00-\\x7f]*") {
            for format in [Format::Text, Format::Json] {
                let line = line(format, &constant(), record(&message, vec![]));
                proptest::prop_assert_eq!(line.matches('\n').count(), 1);
                if format == Format::Json {
                    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
                    proptest::prop_assert_eq!(parsed["msg"].as_str(), Some(message.as_str()));
                }
            }
        }
    }
}
