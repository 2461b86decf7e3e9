//! `docs`: the API documentation, and the book when mdbook is at hand.

use std::process::Command;

use crate::run::{Outcome, cargo, has, root, step};

pub(crate) fn run(args: &[String]) -> Outcome {
    let open = args.iter().any(|arg| arg == "--open");
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    if open {
        doc.arg("--open");
    }
    step("documentation", &mut doc)?;
    if !has("mdbook") {
        println!("The book is in docs/; `cargo install mdbook` to render it.");
        return Ok(());
    }
    step(
        "book",
        Command::new("mdbook")
            .arg("build")
            .current_dir(root().join("docs")),
    )
}
