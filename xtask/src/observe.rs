//! `observe`: what others wrote looks at sidecars, and is asked what it saw.
//!
//! Prometheus comes from Debian, Zipkin from Maven Central, and a collector of OpenTelemetry is built of Go's modules, each
//! once and by the client of its registry; what is fetched stays in the target folder. What cannot be had judges nothing, and
//! that is said.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::dist::target_folder;
use crate::run::{Outcome, cargo, has, step};

/// The package with Zipkin's server.
const ZIPKIN: &str = "io.zipkin:zipkin-server:3.5.1:jar:slim";
const MAVEN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";
/// What the collector is built of.
const COLLECTOR: [(&str, &str); 2] = [
    ("go.mod", include_str!("observe/go.mod.txt")),
    ("main.go", include_str!("observe/main.go.txt")),
];

pub(crate) fn run(args: &[String]) -> Outcome {
    let tools = target_folder()?.join("observe");
    fs::create_dir_all(&tools).map_err(|error| format!("{}: {error}", tools.display()))?;
    for (what, fetched) in [
        ("prometheus", prometheus(&tools)),
        ("zipkin", zipkin(&tools)),
        ("otelcol", collector(&tools)),
    ] {
        if let Err(error) = fetched {
            println!("\n==> observe: {what} cannot be had here: {error}");
        }
    }
    step(
        "daprd",
        &mut cargo(&["build", "--package", "daprd-bin", "--bin", "daprd", "--locked"]),
    )?;
    let run = [
        "run",
        "--quiet",
        "--package",
        "integration-tests",
        "--bin",
        "observe",
        "--",
    ];
    step("observe", cargo(&run).arg("--tools").arg(&tools).args(args))
}

/// The programs of Debian's package, without installing it.
fn prometheus(tools: &Path) -> Outcome {
    if has("prometheus") || tools.join("prometheus").exists() {
        return Ok(());
    }
    if !has("apt-get") || !has("dpkg") {
        return Err("it is not on the path, and apt-get and dpkg are not, either".to_owned());
    }
    let folder = tools.join("deb");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut get = Command::new("apt-get");
    step(
        "observe: Debian's prometheus",
        get.args(["download", "prometheus"]).current_dir(&folder),
    )?;
    let files = fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let packages = files.flatten().map(|file| file.path());
    let package = packages
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "deb"));
    let package = package.ok_or("apt-get has left no package")?;
    let mut unpack = Command::new("dpkg");
    step("observe: unpack it", unpack.arg("-x").arg(package).arg(&folder))?;
    for program in ["prometheus", "promtool"] {
        fs::copy(folder.join("usr/bin").join(program), tools.join(program))
            .map_err(|error| error.to_string())?;
    }
    fs::remove_dir_all(folder).map_err(|error| error.to_string())
}

fn zipkin(tools: &Path) -> Outcome {
    if tools.join("zipkin.jar").exists() {
        return Ok(());
    }
    if !has("mvn") || !has("java") {
        return Err("it needs java, and mvn to fetch it".to_owned());
    }
    let folder = tools.join("jar");
    let mut get = Command::new("mvn");
    get.args(["-q", "-B", MAVEN])
        .arg(format!("-Dartifact={ZIPKIN}"))
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .current_dir(tools);
    step("observe: Zipkin of Maven Central", &mut get)?;
    let files = fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let jar = files.flatten().map(|file| file.path()).next();
    let jar = jar.ok_or("mvn has left no file")?;
    fs::rename(jar, tools.join("zipkin.jar")).map_err(|error| error.to_string())
}

fn collector(tools: &Path) -> Outcome {
    if has("otelcol") || tools.join("otelcol").exists() {
        return Ok(());
    }
    let mut go = Command::new("go");
    if !go
        .arg("version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Err("it needs go to be built".to_owned());
    }
    let folder = tools.join("go");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for (name, text) in COLLECTOR {
        fs::write(folder.join(name), text).map_err(|error| error.to_string())?;
    }
    let mut tidy = Command::new("go");
    step(
        "observe: the modules of the collector",
        tidy.args(["mod", "tidy"]).current_dir(&folder),
    )?;
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(tools.join("otelcol")).arg(".");
    step("observe: the collector", build.current_dir(&folder))
}
