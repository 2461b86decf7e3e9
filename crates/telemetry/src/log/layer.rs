//! From events of `tracing` to lines.

use std::fmt;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;

use super::format::{Record, Value};
use super::writer::Log;

/// The scopes of those who know nothing of Dapr, by the module that speaks. The first that fits counts.
const SCOPES: &[(&str, &str)] = &[
    ("transport::server::grpc", "dapr.runtime.security"),
    ("transport", "dapr.runtime"),
];

/// The scope in which events with this target are printed. What libraries say is not for the log.
fn scope(target: &str) -> Option<&str> {
    if target.starts_with("dapr.") {
        return Some(target);
    }
    let is_of = |module: &str| {
        let rest = target.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    SCOPES
        .iter()
        .find(|(module, _)| is_of(module))
        .map(|(_, scope)| *scope)
}

/// Prints the events that have a scope.
pub(super) struct Layer {
    log: Log,
}

impl Layer {
    pub(super) fn new(log: Log) -> Self {
        Self { log }
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::DEBUG && scope(metadata.target()).is_some()
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(scope) = scope(metadata.target()) else {
            return;
        };
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.log.write(Record {
            time: SystemTime::now(),
            level,
            scope,
            message: &fields.message,
            fields: fields.others,
        });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.push((field.name(), Value::Text(text)));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.push((field.name(), Value::Text(value.to_owned())));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), Value::Number(value.into())));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), Value::Number(value.into())));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), Value::Bool(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::scope;

    #[test]
    fn scopes() {
        for (target, wanted) in [
            ("dapr.runtime.http", Some("dapr.runtime.http")),
            ("transport", Some("dapr.runtime")),
            ("transport::client::h1::places", Some("dapr.runtime")),
            ("transport::server::grpc", Some("dapr.runtime.security")),
            ("transports::server", None),
            ("hyper::proto", None),
            ("", None),
        ] {
            assert_eq!(scope(target), wanted, "{target}");
        }
    }
}
