//! How long a folder of many resources takes to be read, and to be read again when nothing changed.
//!
//! `cargo run --release -p resources --example folder -- FOLDER`, or without a folder for one with 10,000 resources that is
//! made for it.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::error::Error;
use std::fs;
use std::time::Instant;

use resources::{Component, Filter, Folders, HttpEndpoint};

const MANY: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let made = tempfile::tempdir()?;
    let folder = match std::env::args().nth(1) {
        Some(folder) => folder,
        None => {
            for index in 0..MANY {
                fs::write(made.path().join(format!("{index}.yaml")), resource(index))?;
            }
            made.path().display().to_string()
        }
    };
    let folders = [folder];
    let filter = Filter {
        namespace: "",
        app_id: "app",
    };
    let mut before = None;
    for round in ["read", "read again"] {
        let begun = Instant::now();
        let read = Folders::read(&folders, before.as_ref());
        let components = read.load::<Component>(filter)?.resources.len();
        let endpoints = read.load::<HttpEndpoint>(filter)?.resources.len();
        let policies = read.resiliency(filter.app_id).resources.len();
        let taken = begun.elapsed().as_millis();
        println!("{round}: {taken} ms, {components} components, {endpoints} endpoints, {policies} policies");
        before = Some(read);
    }
    Ok(())
}

fn resource(index: usize) -> String {
    let (kind, spec) = match index % 10 {
        0..6 => ("HTTPEndpoint", "  baseUrl: http://127.0.0.1:1\n"),
        6..8 => ("Component", "  type: state.in-memory\n  version: v1\n"),
        _ => ("Resiliency", "  targets: {apps: {a: {timeout: 1s}}}\n"),
    };
    format!("apiVersion: dapr.io/v1alpha1\nkind: {kind}\nmetadata:\n  name: r{index}\nspec:\n{spec}")
}
