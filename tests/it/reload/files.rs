//! Every way in which a file can change.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;

use integration_tests::eventually;

use super::{Stage, component};

#[tokio::test(flavor = "multi_thread")]
async fn files_come_change_and_go() {
    let stage = Stage::new("RF1", &[("a.yaml", &component("a"))]).await;
    stage.lists_components(&["a"]).await;
    stage.write("b.yaml", &component("b"));
    stage.lists_components(&["a", "b"]).await;
    stage.write("b.yaml", &component("c"));
    stage.lists_components(&["a", "c"]).await;
    fs::rename(stage.folder.join("b.yaml"), stage.folder.join("d.yml")).unwrap();
    fs::rename(stage.folder.join("d.yml"), stage.folder.join("d.txt")).unwrap();
    stage.lists_components(&["a"]).await;
    fs::rename(stage.folder.join("d.txt"), stage.folder.join("d.yaml")).unwrap();
    stage.lists_components(&["a", "c"]).await;
    // Written beside and put in place, as careful editors do.
    stage.write(".a.yaml.swp", &component("e"));
    fs::rename(stage.folder.join(".a.yaml.swp"), stage.folder.join("a.yaml")).unwrap();
    stage.lists_components(&["c", "e"]).await;
    // Moved away and written anew, as others do.
    fs::rename(stage.folder.join("a.yaml"), stage.folder.join("a.yaml~")).unwrap();
    stage.write("a.yaml", &component("f"));
    stage.remove("a.yaml~");
    stage.lists_components(&["c", "f"]).await;
    stage.remove("a.yaml");
    stage.remove("d.yaml");
    stage.lists_components(&[]).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_swapped() {
    let stage = Stage::new("RF2", &[]).await;
    let put = |version: &str, name: &str| {
        let folder = stage.folder.join(version);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), component(name)).unwrap();
        symlink(version, stage.folder.join("..data_tmp")).unwrap();
        fs::rename(stage.folder.join("..data_tmp"), stage.folder.join("..data")).unwrap();
    };
    // As Kubernetes mounts a ConfigMap, and updates it.
    put("..1", "one");
    symlink("..data/a.yaml", stage.folder.join("a.yaml")).unwrap();
    stage.lists_components(&["one"]).await;
    put("..2", "two");
    fs::remove_dir_all(stage.folder.join("..1")).unwrap();
    stage.lists_components(&["two"]).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_folder_is_replaced() {
    let stage = Stage::new("RF3", &[("a.yaml", &component("a"))]).await;
    let (old, new) = (
        stage.folder.with_extension("old"),
        stage.folder.with_extension("new"),
    );
    fs::create_dir(&new).unwrap();
    fs::write(new.join("b.yaml"), component("b")).unwrap();
    fs::rename(&stage.folder, &old).unwrap();
    fs::rename(&new, &stage.folder).unwrap();
    stage.lists_components(&["b"]).await;
    // It is the new folder that is watched from now on.
    stage.write("c.yaml", &component("c"));
    stage.lists_components(&["b", "c"]).await;
    // A folder that is gone takes nothing with it.
    fs::rename(&stage.folder, &new).unwrap();
    stage
        .sidecar
        .await_log("Resources stay as they were: failed to read resource directories")
        .await;
    assert_eq!(stage.listed().await[0], ["b", "c"]);
    fs::remove_file(new.join("b.yaml")).unwrap();
    fs::rename(&new, &stage.folder).unwrap();
    stage.lists_components(&["c"]).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_written_takes_nothing_away() {
    let stage = Stage::new("RF4", &[("a.yaml", &component("a")), ("b.yaml", &component("b"))]).await;
    let whole = component("a2") + "---\n" + &component("a3");
    let mut file = File::create(stage.folder.join("a.yaml")).unwrap();
    for piece in whole.as_bytes().chunks(7) {
        file.write_all(piece).unwrap();
        file.sync_data().unwrap();
        let names = stage.listed().await.into_iter().next().unwrap();
        assert!(names.contains(&"b".to_owned()), "{names:?}");
    }
    drop(file);
    stage.lists_components(&["a2", "a3", "b"]).await;
    // A mistake that stays is told with its place.
    stage.write("a.yaml", &component("a").replace("kind", "kind: ["));
    stage
        .sidecar
        .await_log("a.yaml cannot be used as it is now; what it had goes on: Component a2")
        .await;
    assert_eq!(stage.listed().await[0], ["a2", "a3", "b"]);
    stage.write(
        "a.yaml",
        &component("a").replace("  version: v1", "  version: v1\n  metadata: 7"),
    );
    eventually("the field of the mistake", || async {
        stage.sidecar.log().contains("spec.metadata")
    })
    .await;
    assert_eq!(stage.listed().await[0], ["a2", "a3", "b"]);
    stage.write("a.yaml", &component("a4"));
    stage.lists_components(&["a4", "b"]).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_end_in_the_last_state() {
    let stage = Stage::new("RF5", &[]).await;
    for round in 0..100 {
        stage.write(&format!("{}.yaml", round % 7), &component(&format!("c{round}")));
        if round % 3 == 0 {
            stage.remove(&format!("{}.yaml", round % 7));
        }
        if round % 10 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    for file in 0..7 {
        let _ = fs::remove_file(stage.folder.join(format!("{file}.yaml")));
    }
    stage.write("last.yaml", &component("last"));
    stage.lists_components(&["last"]).await;
    stage.ends_well().await;
}

/// What means harm, or is none of YAML, is told and left out while all else goes on changing.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_take_nothing_away() {
    let stage = Stage::new("RF6", &[("a.yaml", &component("a"))]).await;
    let huge = File::create(stage.folder.join("huge.yaml")).unwrap();
    huge.set_len(100 << 20).unwrap();
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(",");
        let _ = writeln!(laughs, "a{level}: &a{level} [{items}]");
    }
    let wide: Vec<u8> = component("wide")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (name, bytes) in [
        ("cycle.yaml", b"a: &a {b: *a}\n".to_vec()),
        ("deep.yaml", "[".repeat(100_000).into_bytes()),
        ("latin.yaml", b"a: caf\xe9\n".to_vec()),
        ("laughs.yaml", laughs.into_bytes()),
        ("wide.yaml", wide),
    ] {
        fs::write(stage.folder.join(name), bytes).unwrap();
    }
    stage.write("b.yaml", &component("b"));
    stage.lists_components(&["a", "b"]).await;
    for name in ["cycle", "deep", "huge", "latin", "laughs", "wide"] {
        stage.sidecar.await_log(&format!("{name}.yaml: ")).await;
    }
    stage.remove("a.yaml");
    stage.lists_components(&["b"]).await;
    stage.ends_well().await;
}
