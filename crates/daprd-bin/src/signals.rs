//! Signals of the operating system.

use std::io;

use rustix::process::Signal as Ignored;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a program of Go that was told to quit.
const QUIT: i32 = 2;

/// Ends the process when it is told to quit, whatever it does: for SIGQUIT, which the first process of a container would
/// not obey by itself. `last_words` are said before.
pub fn quit_at_once(last_words: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut quit = signal(SignalKind::quit())?;
    tokio::spawn(async move {
        if quit.recv().await.is_some() {
            last_words();
            std::process::exit(QUIT);
        }
    });
    Ok(())
}

/// What somebody outside wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop; the name is that of the signal, as it is logged.
    Stop(&'static str),
    /// Build everything anew.
    Restart,
}

/// The signals that a sidecar obeys.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on these signals come here, and those that mean nothing to a sidecar do not end it, as they do not end
    /// programs of Go.
    pub fn new() -> io::Result<Self> {
        for ignored in [
            Ignored::USR1,
            Ignored::USR2,
            Ignored::ALARM,
            Ignored::VTALARM,
            Ignored::IO,
            Ignored::POWER,
        ] {
            // Once somebody listens a signal has lost its usual effect for good.
            drop(signal(SignalKind::from_raw(ignored.as_raw()))?);
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.interrupt.recv() => Request::Stop("interrupt"),
            _ = self.terminate.recv() => Request::Stop("terminated"),
            _ = self.hangup.recv() => Request::Restart,
        }
    }

    /// The next signal to stop; a hang-up means nothing to a sidecar that stops.
    pub async fn next_stop(&mut self) -> &'static str {
        loop {
            if let Request::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}
