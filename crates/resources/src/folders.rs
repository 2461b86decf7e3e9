//! Folders of manifests, read as a whole, again and again.
//!
//! Each reading goes on from the one before: a file that is as it was is not parsed again, and what stood in a file that
//! cannot be read any more stays until it can. A half-written file, or one with a mistake, takes nothing away; a file
//! that is gone takes with it what it had.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use go_text::io_words;

use crate::component::Component;
use crate::encoding;
use crate::manifest::{Entry, Filter, Inert, LoadError, Loaded, Manifest, Resource, entries, entry};
use crate::resiliency::{LoadedResiliency, Resiliency, Trouble, kind_of, of_document, of_text};
use crate::yaml::{MAX_FILE, first_document, only_document};

/// What folders have, as it was read. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Folders(Arc<Vec<Folder>>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// In the order of the bytes of their names.
    files: io::Result<Vec<Place>>,
}

/// A file in its place.
#[derive(Debug)]
struct Place {
    file: Arc<File>,
    /// Whether it was not so in the reading before: what is wrong with it has not been told yet.
    is_new: bool,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    stamp: Stamp,
    entries: Box<[Entry]>,
    resiliency: Option<Arc<Resiliency>>,
    trouble: Option<Trouble>,
    /// What stays of an earlier reading, since the file cannot be read as a whole.
    kept: Vec<Manifest>,
    is_kept_resiliency: bool,
}

/// By what a file is known to be as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    /// A folder, or a file whose name is not one of YAML.
    NotYaml { is_folder: bool },
    /// It cannot be read; why.
    Unread(String),
    /// A text of this length and hash.
    Text(usize, u64),
}

impl Folders {
    /// Reads all files of folders. Reads disks: not for a task among others.
    pub fn read(paths: &[String], before: Option<&Self>) -> Self {
        Self::read_but(paths, before, &HashSet::new())
    }

    /// The same, but these files (absolute paths) stay as they were: somebody is writing them.
    pub fn read_but(paths: &[String], before: Option<&Self>, writing: &HashSet<PathBuf>) -> Self {
        let mut known = HashMap::new();
        for folder in before.iter().flat_map(|before| before.0.iter()) {
            for place in folder.files.iter().flatten() {
                known.insert(place.file.path.as_path(), &place.file);
            }
        }
        let folders = paths.iter().map(|path| {
            let path = PathBuf::from(path);
            let read = |name: &OsString| {
                let path = path.join(name);
                let before = known.get(path.as_path()).copied();
                let is_written = !writing.is_empty()
                    && std::path::absolute(&path).is_ok_and(|path| writing.contains(&path));
                if is_written {
                    let file = Arc::clone(before?);
                    return Some(Place { file, is_new: false });
                }
                place(path, before)
            };
            let files = names(&path).map(|names| all(&names, readers(names.len()), read));
            Folder { path, files }
        });
        Self(Arc::new(folders.collect()))
    }

    /// The same, but all that is wrong is told again.
    #[must_use]
    pub fn anew(&self) -> Self {
        let folders = self.0.iter().map(|folder| Folder {
            path: folder.path.clone(),
            files: match &folder.files {
                Ok(places) => Ok(places
                    .iter()
                    .map(|place| Place {
                        file: Arc::clone(&place.file),
                        is_new: true,
                    })
                    .collect()),
                Err(error) => Err(again(error)),
            },
        });
        Self(Arc::new(folders.collect()))
    }

    /// The first folder that cannot be read.
    pub fn unreadable(&self) -> Option<LoadError> {
        self.0.iter().find_map(|folder| {
            folder.files.as_ref().err().map(|error| LoadError::Folder {
                path: folder.path.clone(),
                source: again(error),
            })
        })
    }

    /// The manifests of one kind that are for this sidecar. A file or document that cannot be used is told and left out.
    pub fn load<R: Resource>(&self, filter: Filter<'_>) -> Result<Loaded<R>, LoadError> {
        if let Some(error) = self.unreadable() {
            return Err(error);
        }
        let mut found = Collected {
            filter,
            accepted: Vec::new(),
            names: HashMap::new(),
            duplicates: Vec::new(),
        };
        let mut warnings = Vec::new();
        for place in self.places() {
            if place.is_new {
                place.file.tell(R::KIND, &mut warnings);
            }
            for resource in place
                .file
                .entries
                .iter()
                .filter_map(Entry::manifest)
                .filter_map(R::of)
            {
                found.take(resource);
            }
        }
        // What only stays because a file cannot be read gives way to what stands in another one by now.
        for resource in self.places().flat_map(|place| &place.file.kept).filter_map(R::of) {
            if !found.names.contains_key(&resource.head().name) {
                found.take(resource);
            }
        }
        if !found.duplicates.is_empty() {
            return Err(LoadError::Duplicates(found.duplicates));
        }
        Ok(Loaded {
            resources: found.accepted,
            warnings,
        })
    }

    /// Resiliency policies. Nothing that is wrong with one of them keeps the others from being read, and a folder that is
    /// not there is passed over.
    pub fn resiliency(&self, app_id: &str) -> LoadedResiliency {
        let mut loaded = LoadedResiliency::default();
        for folder in &*self.0 {
            let places = match &folder.files {
                Ok(places) => places,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let path = folder.path.display();
                    let text = format!(
                        "Failed to read resiliency files from path {path}: open {path}: {}",
                        io_words(error)
                    );
                    loaded.troubles.push(Trouble::Error(text));
                    continue;
                }
            };
            for Place { file, is_new } in places {
                if let Some(resource) = &file.resiliency {
                    loaded.take(Arc::clone(resource), app_id);
                }
                if *is_new {
                    loaded.troubles.extend(file.trouble.clone());
                }
            }
        }
        loaded
    }

    /// Configurations, which have no effect here.
    pub fn configurations(&self) -> Vec<Inert> {
        let manifests = self.places().flat_map(|place| place.file.manifests());
        let configurations = manifests.filter_map(|manifest| match manifest {
            Manifest::Configuration(inert) => Some(inert.clone()),
            _ => None,
        });
        configurations.collect()
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().flat_map(|folder| folder.files.iter().flatten())
    }
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}

/// With so many files in a folder it is worth while to have them read by several threads.
const MANY: usize = 256;
/// How many threads, at most.
const MOST_READERS: usize = 8;

/// How many threads read so many files here.
fn readers(files: usize) -> usize {
    readers_of(files, thread::available_parallelism().map_or(1, NonZero::get))
}

/// The same on a host with so many processors.
fn readers_of(files: usize, processors: usize) -> usize {
    if files < MANY {
        1
    } else {
        processors.min(MOST_READERS)
    }
}

/// What is read of these names, in their order. Each of several readers is a thread and reads a part of them.
fn all(names: &[OsString], readers: usize, read: impl Fn(&OsString) -> Option<Place> + Sync) -> Vec<Place> {
    if readers == 1 {
        return names.iter().filter_map(read).collect();
    }
    let read = &read;
    thread::scope(|scope| {
        let shares = names.chunks(names.len().div_ceil(readers));
        let begun: Vec<_> = shares
            .map(|share| scope.spawn(move || share.iter().filter_map(read).collect::<Vec<_>>()))
            .collect();
        let ended = begun.into_iter().map(|reader| match reader.join() {
            Ok(places) => places,
            Err(panic) => resume_unwind(panic),
        });
        ended.flatten().collect()
    })
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(folder)?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A file as it is now; nothing if it vanished meanwhile.
fn place(path: PathBuf, before: Option<&Arc<File>>) -> Option<Place> {
    let (stamp, text) = look(&path)?;
    if let Some(before) = before
        && before.stamp == stamp
    {
        return Some(Place {
            file: Arc::clone(before),
            is_new: false,
        });
    }
    let mut file = File::parse(path, stamp, text.as_deref());
    if let Some(before) = before {
        file.keep(before);
    }
    Some(Place {
        file: Arc::new(file),
        is_new: true,
    })
}

/// Whether a file in a folder of resources is read, by its name.
pub fn is_yaml_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml")
    })
}

fn look(path: &Path) -> Option<(Stamp, Option<String>)> {
    let is_folder = path.is_dir();
    if !is_yaml_name(path) || is_folder {
        return Some((Stamp::NotYaml { is_folder }, None));
    }
    match text_of(path) {
        Ok(text) => {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            Some((Stamp::Text(text.len(), hasher.finish()), Some(text)))
        }
        // A link to something that is not there stands there all the same.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => None,
        Err(error) => {
            let words = io_words(&error);
            let why = match error.raw_os_error() {
                Some(_) => format!("open {}: {words}", path.display()),
                None => words,
            };
            Some((Stamp::Unread(why), None))
        }
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        // A pipe would be waited for, a device might never end.
        return Err(io::Error::other("it is no regular file"));
    }
    let length = metadata.len();
    if length > MAX_FILE {
        let text = format!("the file has {length} bytes, at most {MAX_FILE} are read");
        return Err(io::Error::other(text));
    }
    encoding::text_of(fs::read(path)?)
}

impl File {
    fn parse(path: PathBuf, stamp: Stamp, text: Option<&str>) -> Self {
        let name = name_of(&path);
        let (entries, resiliency) = match (&stamp, text) {
            (Stamp::Unread(reason), _) => {
                let text = format!("Could not read resiliency file {name}: {reason}");
                let broken = Entry::Broken(None, reason.clone());
                (vec![broken], Err(Trouble::Error(text)))
            }
            (_, Some(text)) => documents(&path, &name, text),
            (Stamp::NotYaml { is_folder: true }, None) if is_yaml_name(&path) => {
                let shown = path.display();
                let text = format!("Could not read resiliency file {name}: read {shown}: is a directory");
                (Vec::new(), Err(Trouble::Error(text)))
            }
            (_, None) => {
                let text = format!("A non-YAML resiliency file {name} was detected, it will not be loaded");
                (Vec::new(), Err(Trouble::Warning(text)))
            }
        };
        let (resiliency, trouble) = match resiliency {
            Ok(resiliency) => (resiliency.map(Arc::new), None),
            Err(trouble) => (None, Some(trouble)),
        };
        Self {
            path,
            stamp,
            entries: entries.into_boxed_slice(),
            resiliency,
            trouble,
            kept: Vec::new(),
            is_kept_resiliency: false,
        }
    }

    /// Keeps what stood in the file before, as far as it may stand in what cannot be read now.
    fn keep(&mut self, before: &Self) {
        if self
            .entries
            .iter()
            .any(|entry| matches!(entry, Entry::Broken(..)))
        {
            let is_here = |manifest: &Manifest| {
                let here = self.entries.iter().filter_map(Entry::manifest);
                let mut here = here.map(Manifest::identity);
                here.any(|identity| identity == manifest.identity())
            };
            self.kept = before
                .manifests()
                .filter(|manifest| !is_here(manifest))
                .cloned()
                .collect();
        }
        if matches!(self.trouble, Some(Trouble::Error(_))) {
            self.resiliency.clone_from(&before.resiliency);
            self.is_kept_resiliency = self.resiliency.is_some();
        }
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.entries.iter().filter_map(Entry::manifest).chain(&self.kept)
    }

    /// What is wrong with the file, for those who look for resources of a kind.
    fn tell(&self, kind: &'static str, warnings: &mut Vec<String>) {
        let shown = self.path.display();
        if self.stamp == (Stamp::NotYaml { is_folder: false }) {
            warnings.push(format!(
                "A non-YAML {kind} file {} was detected, it will not be loaded",
                name_of(&self.path)
            ));
        }
        // The folders are asked once for each kind; of what has none, one of them tells.
        let is_first = kind == Component::KIND;
        for entry in &self.entries {
            match entry {
                Entry::Broken(of, reason) if of.is_none_or(|of| of == kind) => {
                    let doing = match self.stamp {
                        Stamp::Unread(_) => "opening file",
                        _ => "parsing manifests yaml resource in",
                    };
                    warnings.push(format!("daprd load {kind} error when {doing} {shown}: {reason}"));
                }
                Entry::Strange(why) if is_first => {
                    warnings.push(format!("{shown}: {why}, it will not be loaded"));
                }
                _ => {}
            }
        }
        if !is_first {
            return;
        }
        let kept = self.kept.iter().map(Manifest::identity);
        let mut kept: Vec<String> = kept.map(|(kind, name)| format!("{kind} {name}")).collect();
        if let Some(resiliency) = self.resiliency.as_ref().filter(|_| self.is_kept_resiliency) {
            kept.push(format!("{} {}", Resiliency::KIND, resiliency.head.name));
        }
        if !kept.is_empty() {
            let kept = kept.join(", ");
            warnings.push(format!(
                "{shown} cannot be used as it is now; what it had goes on: {kept}"
            ));
        }
    }
}

/// The name of a file in its folder.
fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What a text has, by the rules of resources and by those of policies.
fn documents(path: &Path, name: &str, text: &str) -> (Vec<Entry>, Result<Option<Resiliency>, Trouble>) {
    let origin = path.display().to_string();
    // A file of one document, as most are, is parsed once for both. The rules differ in keys that stand twice, which are
    // a mistake here.
    if let Some(Ok(document)) = only_document(text).map(first_document) {
        let policies = if kind_of(&document) == Some(Resiliency::KIND) {
            of_document(name, document.clone())
        } else {
            Ok(None)
        };
        return (entry(&origin, document).into_iter().collect(), policies);
    }
    let entries = entries(&origin, text);
    // The rules of policies are asked when there may be one.
    let is_broken = entries.iter().any(|entry| matches!(entry, Entry::Broken(..)));
    let policies = if is_broken || text.contains(Resiliency::KIND) {
        of_text(name, text)
    } else {
        Ok(None)
    };
    (entries, policies)
}

impl Entry {
    fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Resource(manifest) => Some(manifest),
            Self::Strange(_) | Self::Broken(..) => None,
        }
    }
}

struct Collected<'a, R> {
    filter: Filter<'a>,
    accepted: Vec<Arc<R>>,
    /// The log names of those that were accepted before scopes were looked at, by name.
    names: HashMap<String, String>,
    duplicates: Vec<String>,
}

impl<R: Resource> Collected<'_, R> {
    fn take(&mut self, resource: &Arc<R>) {
        let head = resource.head();
        if !self.filter.is_of_namespace(head) {
            return;
        }
        let log_name = resource.log_name();
        if let Some(existing) = self.names.get(&head.name) {
            let (kind, name) = (R::KIND, &head.name);
            self.duplicates.push(format!(
                "duplicate definition of {kind} name {name} ({}) with existing {existing}",
                log_name
                    .strip_prefix(&format!("{name} "))
                    .map_or(log_name.as_str(), |rest| rest
                        .trim_start_matches('(')
                        .trim_end_matches(')')),
            ));
            return;
        }
        if !self.filter.is_in_scope(head) {
            return;
        }
        self.names.insert(head.name.clone(), log_name);
        self.accepted.push(Arc::clone(resource));
    }
}

#[cfg(test)]
mod tests;
