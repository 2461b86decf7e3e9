//! `corpus`: which of the inputs that were found are kept.
//!
//! libFuzzer tells what each input reaches, in the file by which its own `-merge=1` talks to the processes that it begins.
//! It begins them with options that a test program does not know, so the choice is made here, where it can have a bound.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Outcome;

/// So many inputs of one target are kept at most, and so many bytes.
const MOST: usize = 60;
const MOST_BYTES: usize = 64 * 1024;

/// An input that a target was given, or may be given again.
pub(crate) struct Input {
    /// Its file's name, by which the same input has the same file in the next run.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The few of all files in these folders that reach most. `measure` lets the engine write into a file what each reaches.
pub(crate) fn choose(folders: &[&Path], measure: impl Fn(&Path) -> Outcome) -> Result<Vec<Input>, String> {
    let wrong = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut files: Vec<PathBuf> = Vec::new();
    let mut names = BTreeSet::new();
    for folder in folders {
        for entry in fs::read_dir(folder)
            .map_err(|error| wrong(folder, error))?
            .flatten()
        {
            if names.insert(entry.file_name()) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let control = folders[0].with_extension("control");
    let mut list = vec![files.len().to_string(), "0".to_owned()];
    list.extend(files.iter().map(|file| file.display().to_string()));
    fs::write(&control, list.join("\n") + "\n").map_err(|error| wrong(&control, error))?;
    // An input at which the program ends is a finding, which the run has shown. Those behind it were not looked at.
    let measured = measure(&control);
    let told = fs::read_to_string(&control).map_err(|error| wrong(&control, error))?;
    fs::remove_file(&control).map_err(|error| wrong(&control, error))?;
    measured?;
    let reached = reached(&told, files.len());
    let mut inputs = Vec::new();
    for (file, reached) in files.iter().zip(reached) {
        let bytes = fs::read(file).map_err(|error| wrong(file, error))?;
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        inputs.push((Input { name, bytes }, reached));
    }
    Ok(few(inputs))
}

/// What each of so many inputs reaches, as numbers that mean something to the engine alone.
fn reached(control: &str, count: usize) -> Vec<BTreeSet<u32>> {
    let mut reached = vec![BTreeSet::new(); count];
    for line in control.lines().filter_map(|line| line.strip_prefix("FT ")) {
        let mut numbers = line.split(' ').filter_map(|number| number.parse().ok());
        let input = numbers
            .next()
            .and_then(|input: u32| reached.get_mut(input as usize));
        if let Some(input) = input {
            input.extend(numbers);
        }
    }
    reached
}

/// Takes whichever adds most, the shorter of two that add the same, until nothing is added or there are enough.
fn few(mut inputs: Vec<(Input, BTreeSet<u32>)>) -> Vec<Input> {
    let mut chosen = Vec::new();
    let mut bytes = 0;
    while chosen.len() < MOST {
        inputs.retain(|(input, adds)| !adds.is_empty() && bytes + input.bytes.len() <= MOST_BYTES);
        let weight = |(input, adds): &(Input, BTreeSet<u32>)| (adds.len(), usize::MAX - input.bytes.len());
        let Some(best) = (0..inputs.len()).max_by_key(|at| weight(&inputs[*at])) else {
            break;
        };
        let (input, reached) = inputs.swap_remove(best);
        for (_, adds) in &mut inputs {
            adds.retain(|number| !reached.contains(number));
        }
        bytes += input.bytes.len();
        chosen.push(input);
    }
    chosen
}

/// Puts these inputs into a folder, in place of all that is there.
pub(crate) fn replace(folder: &Path, inputs: &[Input]) -> Outcome {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::remove_dir_all(folder).map_err(wrong)?;
    fs::create_dir_all(folder).map_err(wrong)?;
    for input in inputs {
        fs::write(folder.join(&input.name), &input.bytes).map_err(wrong)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, length: usize) -> Input {
        Input {
            name: name.to_owned(),
            bytes: vec![0; length],
        }
    }

    #[test]
    fn what_an_input_reaches_is_read_of_the_control_file() {
        let control = "3\n0\na\nb\nc\nSTARTED 0 1\nFT 0 1 4 6\nCOV 0 7\nSTARTED 1 2\nFT 2\nFT 9 1\nFT x\n";
        assert_eq!(reached(control, 3), [[1, 4, 6].into(), [].into(), [].into()]);
    }

    #[test]
    fn few_inputs_reach_as_much_as_all() {
        let names = |inputs: Vec<Input>| inputs.into_iter().map(|input| input.name).collect::<Vec<_>>();
        let inputs = vec![
            (input("part", 1), [1, 2].into()),
            (input("long", 9), [1, 2, 3].into()),
            (input("short", 8), [1, 2, 3].into()),
            (input("other", 5), [3, 4].into()),
            (input("nothing", 1), [].into()),
        ];
        assert_eq!(names(few(inputs)), ["short", "other"]);
        let large = vec![
            (input("too-large", MOST_BYTES + 1), [1, 2].into()),
            (input("large", MOST_BYTES), [1].into()),
        ];
        assert_eq!(names(few(large)), ["large"]);
        let many = (0..1000).map(|at| (input("one", 1), [at].into())).collect();
        assert_eq!(few(many).len(), MOST);
    }
}
