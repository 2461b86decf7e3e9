//! `simulate`: thousands of sidecars in one thread, with a clock and a network of their own.

use crate::run::{Outcome, cargo, step};

pub(crate) fn run(args: &[String]) -> Outcome {
    let mut command = cargo(&["run", "--quiet", "--release", "--package", "simulate", "--"]);
    step("simulate", command.args(args))
}
