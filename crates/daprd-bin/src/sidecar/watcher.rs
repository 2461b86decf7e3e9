//! Folders and files that are watched.
//!
//! What is told is only that something changed: whoever listens reads again and sees what. Links that are swapped, as
//! Kubernetes swaps them in mounted volumes, and folders that are moved away and replaced are changes, too. A file that
//! somebody is writing is named, so that it is left alone: half of it may look like all of it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::future::pending;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, MetadataKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// After so long without another event a change is over, as in Dapr.
const QUIET: Duration = Duration::from_millis(5);
/// So long after its last event a file that nobody closed is taken for one that somebody writes. On a busy machine the
/// pieces of a file may come seconds apart.
const WRITING: Duration = Duration::from_secs(5);
/// Changes that do not stop are looked at after so long in any case.
const LONGEST: Duration = Duration::from_millis(500);

/// Watches folders, and files by their names.
pub(super) struct Watcher {
    inner: RecommendedWatcher,
    /// The folders that are watched, and which they were then.
    armed: HashMap<PathBuf, Option<Identity>>,
    signal: Arc<Signal>,
}

/// By what a folder is known to be the same.
type Identity = (u64, u64);

/// What the thread of the watcher and whoever waits share.
#[derive(Default)]
struct Signal {
    pending: Mutex<Pending>,
    notify: Notify,
}

#[derive(Default)]
struct Pending {
    is_changed: bool,
    /// Files that somebody opened to write, and has not closed, with the time of the last event.
    writing: HashMap<PathBuf, Instant>,
}

impl Pending {
    /// Forgets files that nobody wrote to for a while; they count as changed. Gives the time when the next one is forgotten.
    fn forget(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let before = self.writing.len();
        self.writing.retain(|_, last| now < *last + WRITING);
        self.is_changed |= self.writing.len() < before;
        self.writing.values().min().map(|last| *last + WRITING)
    }
}

impl Signal {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: &notify::Event, wanted: &Wanted) {
        let Some(stage) = stage(event.kind) else { return };
        let paths: Vec<_> = event.paths.iter().filter(|path| wanted.is_one(path)).collect();
        if paths.is_empty() && !event.need_rescan() {
            return;
        }
        let mut pending = self.pending();
        pending.is_changed = true;
        for path in paths {
            match stage {
                // A link is there as a whole, and nobody closes it.
                Stage::Begun if !is_link(path) => drop(pending.writing.insert(path.clone(), Instant::now())),
                Stage::Begun | Stage::Over => drop(pending.writing.remove(path)),
            }
        }
        drop(pending);
        self.notify.notify_one();
    }
}

/// What an event says about a file.
#[derive(Clone, Copy)]
enum Stage {
    /// More is to come.
    Begun,
    Over,
}

/// Nothing for what changes nothing: somebody reads.
fn stage(kind: EventKind) -> Option<Stage> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Stage::Over),
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)) => None,
        EventKind::Create(CreateKind::File | CreateKind::Any) | EventKind::Modify(ModifyKind::Data(_)) => {
            Some(Stage::Begun)
        }
        _ => Some(Stage::Over),
    }
}

/// What is looked for.
#[derive(Clone, Default)]
struct Wanted {
    /// Of these folders, all that is in them.
    folders: HashSet<PathBuf>,
    /// In these folders, these names.
    names: HashMap<PathBuf, HashSet<PathBuf>>,
}

impl Wanted {
    fn of(folders: &[String], files: &[String]) -> Self {
        let mut wanted = Self::default();
        for folder in folders {
            let folder = absolute(folder);
            wanted.name(&folder);
            wanted.folders.insert(folder);
        }
        for file in files {
            let file = absolute(file);
            wanted.name(&file);
            // A link may lead to a file in another folder, which is replaced there.
            if let Ok(file) = fs::canonicalize(&file) {
                wanted.name(&file);
            }
        }
        wanted
    }

    fn name(&mut self, path: &Path) {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            self.names
                .entry(parent.to_owned())
                .or_default()
                .insert(name.into());
        }
    }

    fn watched(&self) -> impl Iterator<Item = (&PathBuf, bool)> {
        let folders = self.folders.iter().map(|folder| (folder, true));
        folders.chain(self.names.keys().map(|folder| (folder, false)))
    }

    fn is_one(&self, path: &Path) -> bool {
        let parent = path.parent().unwrap_or(path);
        let named = |names: &HashSet<PathBuf>| {
            let name = path.file_name().unwrap_or_default();
            // Volumes of Kubernetes are replaced behind names that begin so.
            names.contains(Path::new(name)) || begins_with_dots(name)
        };
        self.folders.contains(path)
            || self.folders.contains(parent)
            || self.names.get(parent).is_some_and(named)
    }
}

fn begins_with_dots(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"..")
}

fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

impl Watcher {
    /// Watches folders of resources, and files.
    ///
    /// # Errors
    /// There is no such folder, or the system has no room for more watches; with the folder.
    pub(super) fn new(folders: &[String], files: &[String]) -> Result<Self, (PathBuf, io::Error)> {
        let wanted = Wanted::of(folders, files);
        let signal = Arc::<Signal>::default();
        let handler = {
            let (signal, wanted) = (Arc::clone(&signal), wanted.clone());
            move |event: notify::Result<notify::Event>| match event {
                Ok(event) => signal.take(&event, &wanted),
                Err(error) => tracing::debug!(target: "dapr.runtime.hotreload", "Watching: {error}"),
            }
        };
        let inner =
            notify::recommended_watcher(handler).map_err(|error| (PathBuf::new(), io_error(error)))?;
        let mut watcher = Self {
            inner,
            armed: HashMap::new(),
            signal,
        };
        for (folder, is_needed) in wanted.watched() {
            let watched = watcher.watch(folder);
            match watched {
                Err(error) if is_needed => return Err((folder.clone(), error)),
                // What is only a part of the way to somewhere may be closed to us.
                Err(_) => drop(watcher.armed.insert(folder.clone(), None)),
                Ok(()) => {}
            }
        }
        Ok(watcher)
    }

    fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let identity = identity(folder);
        self.inner
            .watch(folder, RecursiveMode::NonRecursive)
            .map_err(io_error)?;
        self.armed.insert(folder.to_owned(), identity);
        Ok(())
    }

    /// Watches folders that took the place of others under the same name.
    pub(super) fn renew(&mut self) {
        let moved: Vec<PathBuf> = self
            .armed
            .iter()
            .filter(|(folder, armed)| identity(folder) != **armed)
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in moved {
            // The watch of a folder that is gone has ended by itself.
            let _ = self.inner.unwatch(&folder);
            if self.watch(&folder).is_err() {
                self.armed.insert(folder, None);
            }
        }
    }

    /// Waits for a change, and until it is over.
    pub(super) async fn changed(&self) {
        loop {
            let forgotten = {
                let mut pending = self.signal.pending();
                let next = pending.forget();
                if pending.is_changed {
                    break;
                }
                next
            };
            let forgotten = async {
                match forgotten {
                    Some(time) => sleep_until(time).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.signal.notify.notified() => {}
                () = forgotten => {}
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < LONGEST {
            tokio::select! {
                () = self.signal.notify.notified() => {}
                () = sleep(QUIET) => break,
            }
        }
        self.signal.pending().is_changed = false;
    }

    /// The files that somebody is writing.
    pub(super) fn writing(&self) -> HashSet<PathBuf> {
        self.signal.pending().writing.keys().cloned().collect()
    }
}

/// Whether a path is a symbolic link, or another name of a file that is there already.
fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}

fn identity(folder: &Path) -> Option<Identity> {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn io_error(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        notify::ErrorKind::PathNotFound => io::ErrorKind::NotFound.into(),
        kind => io::Error::other(format!("{kind:?}")),
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, RenameMode};

    use super::*;

    #[test]
    fn paths_that_are_looked_for() {
        let wanted = Wanted::of(&["/r/resources".to_owned()], &["/c/config.yaml".to_owned()]);
        for (path, is_one) in [
            ("/r/resources", true),
            ("/r/resources/a.yaml", true),
            ("/r/resources/deeper/a.yaml", false),
            ("/r/other", false),
            ("/c/config.yaml", true),
            ("/c/other.yaml", false),
            // As Kubernetes swaps volumes.
            ("/c/..data", true),
            ("/c/..data_tmp", true),
            ("/c", false),
            ("/", false),
        ] {
            assert_eq!(wanted.is_one(Path::new(path)), is_one, "{path}");
        }
    }

    #[test]
    fn events_that_change_something() {
        for (kind, is_begun) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
            (
                EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)),
                None,
            ),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                Some(false),
            ),
            (EventKind::Create(CreateKind::File), Some(true)),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(true)),
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), Some(false)),
            (EventKind::Create(CreateKind::Folder), Some(false)),
            (EventKind::Remove(notify::event::RemoveKind::File), Some(false)),
            (EventKind::Any, Some(false)),
        ] {
            let found = stage(kind).map(|stage| matches!(stage, Stage::Begun));
            assert_eq!(found, is_begun, "{kind:?}");
        }
    }

    /// A file is named from the first byte to the moment when it is closed, or nobody has written for a while.
    #[tokio::test(start_paused = true)]
    async fn files_that_are_written() {
        let path = PathBuf::from("/r/a.yaml");
        let wanted = Wanted::of(&["/r".to_owned()], &[]);
        let signal = Signal::default();
        let tell = |kind| signal.take(&notify::Event::new(kind).add_path(path.clone()), &wanted);
        let is_written = || signal.pending().writing.contains_key(&path);
        tell(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        assert!(is_written());
        tell(EventKind::Access(AccessKind::Close(AccessMode::Write)));
        assert!(!is_written() && signal.pending().is_changed);
        tell(EventKind::Create(CreateKind::File));
        signal.pending().is_changed = false;
        tokio::time::advance(WRITING).await;
        assert_eq!(signal.pending().forget(), None);
        assert!(!is_written() && signal.pending().is_changed);
    }
}
