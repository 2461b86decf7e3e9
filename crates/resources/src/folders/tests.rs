//! Readings one after the other.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Mutex;

use super::*;

const FILTER: Filter<'static> = Filter {
    namespace: "",
    app_id: "me",
};

struct Stage {
    folder: tempfile::TempDir,
    read: Folders,
}

impl Stage {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            read: Folders::default(),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Reads again; the components and the warnings.
    fn read(&mut self) -> (Vec<String>, Vec<String>) {
        self.read = Folders::read(&[self.folder.path().display().to_string()], Some(&self.read));
        let loaded = self.read.load::<Component>(FILTER).unwrap();
        let names = loaded.resources.iter().map(|one| one.log_name()).collect();
        (names, loaded.warnings)
    }

    fn names(&mut self) -> Vec<String> {
        self.read().0
    }

    fn policies(&self) -> Vec<String> {
        let loaded = self.read.resiliency("me");
        loaded
            .resources
            .iter()
            .map(|resource| resource.head.name.clone())
            .collect()
    }
}

fn component(name: &str, kind: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: {name}}}\nspec: {{type: {kind}}}\n"
    )
}

#[test]
fn what_stands_in_a_file_that_cannot_be_read_goes_on() {
    let mut stage = Stage::new();
    stage.write(
        "a.yaml",
        &(component("a", "x.y") + "---\n" + &component("b", "x.y")),
    );
    assert_eq!(stage.names(), ["a (x.y)", "b (x.y)"]);
    for broken in [
        "apiVersion: dapr.io/v1alpha1\nkind: Comp: [",
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: a}\nspec: {metadata: 7}\n",
    ] {
        stage.write("a.yaml", broken);
        let (names, warnings) = stage.read();
        assert_eq!(names, ["a (x.y)", "b (x.y)"], "{broken}");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("a.yaml"), "{warnings:?}");
        assert!(
            warnings[1].ends_with("what it had goes on: Component a, Component b"),
            "{warnings:?}"
        );
        let (names, warnings) = stage.read();
        assert_eq!((names.len(), warnings.len()), (2, 0), "it is told once");
    }
    // What can be read of it counts.
    stage.write("a.yaml", &(component("a", "z.z") + "---\n{"));
    assert_eq!(stage.names(), ["a (z.z)", "b (x.y)"]);
    stage.write("a.yaml", &component("a", "z.z"));
    assert_eq!(stage.names(), ["a (z.z)"]);
    stage.write("a.yaml", "");
    assert!(stage.names().is_empty(), "an empty file has nothing");
    stage.write("a.yaml", "{");
    assert!(stage.names().is_empty(), "and goes on having nothing");
}

#[test]
fn what_moved_to_another_file_is_no_duplicate_of_what_goes_on() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &component("a", "x.y"));
    stage.read();
    stage.write("a.yaml", "{");
    stage.write("b.yaml", &component("a", "z.z"));
    assert_eq!(stage.names(), ["a (z.z)"]);
    stage.write("a.yaml", &component("a", "x.y"));
    stage.read = Folders::read(&[stage.folder.path().display().to_string()], Some(&stage.read));
    assert!(matches!(
        stage.read.load::<Component>(FILTER),
        Err(LoadError::Duplicates(_))
    ));
}

#[test]
fn files_that_go_and_files_that_are_locked() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &component("a", "x.y"));
    stage.write("b.yaml", "kind: Resiliency\nmetadata: {name: r}\n");
    assert_eq!(stage.names(), ["a (x.y)"]);
    assert_eq!(stage.policies(), ["r"]);
    let path = stage.folder.path().join("a.yaml");
    fs::write(&path, [0xff, 0xfe, 0xff]).unwrap();
    stage.write("b.yaml", "kind: Resiliency\nmetadata: {name: r}\nspec: 7\n");
    assert_eq!(
        stage.names(),
        ["a (x.y)"],
        "what is no text has nothing new to say"
    );
    assert_eq!(stage.policies(), ["r"]);
    // Whoever may read everything may read this, too.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    assert_eq!(stage.names(), ["a (x.y)"]);
    fs::remove_file(&path).unwrap();
    fs::remove_file(stage.folder.path().join("b.yaml")).unwrap();
    assert!(stage.names().is_empty());
    assert!(stage.policies().is_empty());
}

#[test]
fn what_somebody_is_writing_is_left_alone() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &component("a", "x.y"));
    stage.names();
    stage.write("a.yaml", &component("b", "x."));
    stage.write("new.yaml", &component("c", "x."));
    let paths = [stage.folder.path().display().to_string()];
    let writing = ["a.yaml", "new.yaml"].map(|name| stage.folder.path().join(name));
    stage.read = Folders::read_but(&paths, Some(&stage.read), &writing.into());
    let loaded = stage.read.load::<Component>(FILTER).unwrap();
    let names: Vec<_> = loaded.resources.iter().map(|one| one.log_name()).collect();
    assert_eq!(names, ["a (x.y)"]);
    assert_eq!(stage.names(), ["b (x.)", "c (x.)"]);
}

#[test]
fn volumes_of_kubernetes_are_links_to_links() {
    let mut stage = Stage::new();
    let root = stage.folder.path().to_owned();
    for (version, kind) in [("..1", "x.y"), ("..2", "z.z")] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("a.yaml"), component("a", kind)).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    assert_eq!(stage.names(), ["a (x.y)"]);
    symlink("..2", root.join("..new")).unwrap();
    fs::rename(root.join("..new"), root.join("..data")).unwrap();
    assert_eq!(stage.names(), ["a (z.z)"]);
    fs::remove_dir_all(root.join("..2")).unwrap();
    assert_eq!(stage.names(), ["a (z.z)"], "a link to nothing takes nothing away");
}

#[test]
fn what_did_not_change_is_not_parsed_again() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &component("a", "x.y"));
    stage.write("b.txt", "x");
    let (_, warnings) = stage.read();
    assert_eq!(warnings.len(), 1);
    let file = |stage: &Stage| Arc::clone(&stage.read.places().next().unwrap().file);
    let first = file(&stage);
    let (_, warnings) = stage.read();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(Arc::ptr_eq(&first, &file(&stage)));
    let anew = stage.read.anew().load::<Component>(FILTER).unwrap();
    assert_eq!(anew.warnings.len(), 1, "it is told again when that is wanted");
}

proptest::proptest! {
    /// Whatever happened before, the last contents decide, as long as they can be read.
    #[test]
    fn any_order_ends_in_the_state_of_the_last(steps in proptest::collection::vec((0..3_usize, 0..4_usize), 1..20)) {
        let texts = [component("a", "x.y"), component("b", "z.z"), "{".to_owned(), String::new()];
        let mut stage = Stage::new();
        for (file, text) in &steps {
            // Each file has names of its own, so that there are no duplicates.
            stage.write(&format!("{file}.yaml"), &texts[*text].replace("name: ", &format!("name: f{file}")));
            stage.read();
        }
        for file in 0..3 {
            stage.write(&format!("{file}.yaml"), &component(&format!("last{file}"), "x.y"));
        }
        proptest::prop_assert_eq!(stage.names(), ["last0 (x.y)", "last1 (x.y)", "last2 (x.y)"]);
    }
}

/// Such a file would be read for ever.
#[test]
fn what_is_no_regular_file_is_not_read() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &component("a", "x.y"));
    symlink("/dev/zero", stage.folder.path().join("b.yaml")).unwrap();
    let (names, warnings) = stage.read();
    assert_eq!(names, ["a (x.y)"]);
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("it is no regular file")),
        "{warnings:?}"
    );
}

/// The places have the order of the names, however many threads read them.
#[test]
fn a_large_folder_is_read_by_a_few_threads() {
    for (files, processors, wanted) in [
        (255, 64, 1),
        (256, 1, 1),
        (256, 2, 2),
        (256, 64, 8),
        (1000, 64, 8),
    ] {
        let names: Vec<OsString> = (0..files)
            .map(|number| format!("{number:04}.txt").into())
            .collect();
        let threads = Mutex::new(HashSet::new());
        let read = |name: &OsString| {
            threads.lock().unwrap().insert(thread::current().id());
            let file = File::parse(name.into(), Stamp::NotYaml { is_folder: false }, None);
            Some(Place {
                file: Arc::new(file),
                is_new: true,
            })
        };
        let places = all(&names, readers_of(files, processors), read);
        let read: Vec<_> = places
            .iter()
            .map(|place| place.file.path.clone().into_os_string())
            .collect();
        assert_eq!(read, names);
        assert_eq!(
            threads.into_inner().unwrap().len(),
            wanted,
            "{files} files, {processors} processors"
        );
    }
}
