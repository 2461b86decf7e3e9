//! The log: lines as Dapr writes them.

mod format;
mod layer;
mod queue;
mod writer;

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use go_text::io_words;
use thiserror::Error;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

pub(crate) use format::go_time;
pub use format::rfc3339 as utc;
pub use writer::{ApiCall, Log};

use format::{Constant, Format};
use layer::Layer;

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The lowest level that is printed.
    pub level: Level,
    /// JSON instead of text.
    pub as_json: bool,
    /// The file, instead of the standard output.
    pub file: Option<PathBuf>,
    /// The app id; empty when it is not known.
    pub app_id: String,
    /// The host.
    pub instance: String,
    /// The version.
    pub version: &'static str,
}

/// A level, by Dapr's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Debug,
    /// What happens in the life of a sidecar.
    Info,
    /// What somebody should look at.
    Warn,
    /// What went wrong.
    Error,
    /// What ends the process.
    Fatal,
}

impl Level {
    /// Reads a level; the case does not matter.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            "fatal" => Self::Fatal,
            _ => return None,
        })
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
            Self::Fatal => LevelFilter::OFF,
        }
    }
}

/// A log that cannot be written.
#[derive(Debug, Error)]
#[error("failed to open log file {path:?}: open {}: {}", .path.display(), io_words(.source))]
pub struct InitError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Begins to log: every event of the process whose target is one of Dapr's scopes goes to the log from now on.
pub fn init(settings: LogSettings) -> Result<Log, InitError> {
    let output: Box<dyn io::Write + Send> = match &settings.file {
        None => Box::new(io::stdout()),
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            Box::new(file.map_err(|source| InitError {
                path: path.clone(),
                source,
            })?)
        }
    };
    let constant = Constant {
        app_id: settings.app_id,
        instance: settings.instance,
        version: settings.version,
    };
    let format = if settings.as_json {
        Format::Json
    } else {
        Format::Text
    };
    let log = Log::start(output, format, constant);
    let layer = Layer::new(log.clone());
    let subscriber = tracing_subscriber::registry()
        .with(settings.level.filter())
        .with(layer);
    // A second log in one process (tests) leaves the first one in place.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(log)
}
