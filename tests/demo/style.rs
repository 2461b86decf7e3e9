//! Colours, for a terminal alone.

use std::io::IsTerminal;

/// Whether text is coloured.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// Colours when the standard output is a terminal and nobody asked for none.
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colours: std::io::stdout().is_terminal() && !unwanted,
        }
    }

    /// A title.
    pub(crate) fn title(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something to type.
    pub(crate) fn command(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// Something less important.
    pub(crate) fn aside(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What did not.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
