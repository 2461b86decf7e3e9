//! `ci`: everything that must hold before a change lands, cheapest first.

use std::time::Instant;

use crate::run::{Outcome, cargo, has, step};
use crate::{fuzz, interop, test, tidy};

pub(crate) fn run() -> Outcome {
    for (tool, advice) in [
        ("rustfmt", "rustup component add rustfmt"),
        ("cargo-clippy", "rustup component add clippy"),
    ] {
        if !has(tool) {
            return Err(format!("{tool} is missing: {advice}"));
        }
    }
    let begun = Instant::now();
    tidy::run()?;
    step("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    step("clippy", &mut cargo(&clippy))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    step("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    if has("cargo-deny") {
        step(
            "advisories and licences",
            &mut cargo(&["deny", "--offline", "check", "licenses", "bans"]),
        )?;
    }
    test::unit(&[])?;
    test::lean()?;
    test::cloud_map()?;
    test::models(&[])?;
    fuzz::run(&[])?;
    test::integration(&[])?;
    interop::where_possible()?;
    println!("\nAll of it holds ({:.0} s).", begun.elapsed().as_secs_f64());
    Ok(())
}
