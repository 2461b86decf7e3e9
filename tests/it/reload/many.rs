//! Ten thousand resources: all are there, one that changes is seen, and they take little memory.

use std::fs;
use std::path::Path;

use integration_tests::{Daprd, Mesh, eventually};

use super::{component, endpoint, listed, policy};

const MANY: usize = 10_000;
/// What they may take, in bytes, in builds with and without optimisation. It bounds what is kept of each resource, and that
/// one change does not keep all of them twice.
const MOST: u64 = 100 << 20;

fn resource(index: usize) -> String {
    match index % 10 {
        0..6 => {
            let headers = format!("  headers:\n  - name: x-number\n    value: \"{index}\"\n");
            endpoint(
                &format!("e{index}"),
                &format!("http://127.0.0.1:{}", 1024 + index),
            ) + &headers
        }
        6..8 => component(&format!("c{index}")),
        _ => {
            let spec = format!(
                "  policies:\n    retries:\n      p{index}:\n        policy: constant\n        duration: 1s\n  \
                 targets:\n    apps:\n      a{index}:\n        retry: p{index}\n"
            );
            policy(&format!("r{index}"), &spec)
        }
    }
}

async fn start(mesh: &Mesh, folder: &Path) -> Daprd {
    mesh.sidecar("RM1")
        .arg(format!("--resources-path={}", folder.display()))
        .log_level("info")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_resources() {
    let mesh = Mesh::new();
    let folder = mesh.folder().join("resources");
    fs::create_dir(&folder).unwrap();
    let empty = start(&mesh, &folder).await;
    let before = empty.resident_bytes();
    empty.stop().await;
    for index in 0..MANY {
        fs::write(folder.join(format!("{index}.yaml")), resource(index)).unwrap();
    }
    let sidecar = start(&mesh, &folder).await;
    let growth = || sidecar.peak_resident_bytes().saturating_sub(before);
    let lists = async |counts: [usize; 3]| listed(&sidecar).await.map(|names| names.len()) == counts;
    assert!(lists([MANY / 5, MANY * 3 / 5, MANY / 5]).await);
    println!("{MANY} resources: {} KiB", growth() >> 10);
    assert!(growth() < MOST, "{}", growth());

    fs::write(folder.join("0.yaml"), endpoint("changed", "http://127.0.0.1:1")).unwrap();
    fs::remove_file(folder.join("6.yaml")).unwrap();
    fs::write(folder.join("new.yaml"), resource(8).replace("r8", "new")).unwrap();
    eventually("the last state", || {
        lists([MANY / 5 - 1, MANY * 3 / 5, MANY / 5 + 1])
    })
    .await;
    let [components, endpoints, policies] = listed(&sidecar).await;
    let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
    assert!(has(&endpoints, "changed") && !has(&endpoints, "e0"));
    assert!(!has(&components, "c6") && has(&policies, "new"));
    println!("after a change: {} KiB", growth() >> 10);
    assert!(growth() < MOST, "{}", growth());
}
