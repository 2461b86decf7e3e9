//! What the fuzz targets share: inputs that are nearly right.
//!
//! Random bytes rarely get past the first line of a parser. So most targets begin with something that is right, out of
//! the folder `seeds` or made on the spot, and a few [`Edit`]s make it wrong; others put words of a dictionary together.
//! An engine that watches the code that is reached (`cargo bolero test`) finds its way with both, too.
//!
//! A target is an ordinary test: `cargo test -p fuzz` runs each for about a second, and whatever it finds is printed as
//! small as it can be made, with a seed that repeats it. How to run one for hours stands in `CONTRIBUTING.md`.

use std::path::Path;

use bolero::TypeGenerator;

/// A change of some bytes. Places are taken modulo the length.
#[derive(Clone, Debug, TypeGenerator)]
pub enum Edit {
    /// Another byte.
    Replace(u16, u8),
    /// A bit that falls over.
    Flip(u16, u8),
    /// Some bytes are gone.
    Remove(u16, u8),
    /// Everything from there on is gone.
    Cut(u16),
    /// A byte more.
    Insert(u16, u8),
    /// A piece from one place once more at another.
    Copy(u16, u8, u16),
    /// A piece many times over.
    Repeat(u16, u8, u8),
    /// A word of the dictionary.
    Word(u16, u8),
}

/// A seed, and what is wrong with it.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Near {
    seed: u8,
    #[generator(bolero::generator::produce::<Vec<Edit>>().with().len(0_usize..8))]
    edits: Vec<Edit>,
}

impl Near {
    /// The bytes that come of it.
    pub fn to_bytes<S: AsRef<[u8]>>(&self, seeds: &[S], words: &[&str]) -> Vec<u8> {
        let seed = seeds.get(usize::from(self.seed) % seeds.len().max(1));
        let mut bytes = seed.map_or_else(Vec::new, |seed| seed.as_ref().to_vec());
        apply(&self.edits, &mut bytes, words);
        bytes
    }
}

/// Edits bytes, one edit after the other.
pub fn apply(edits: &[Edit], bytes: &mut Vec<u8>, words: &[&str]) {
    for edit in edits {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        match *edit {
            Edit::Replace(at, byte) => replace(bytes, at, |_| byte),
            Edit::Flip(at, bit) => replace(bytes, at, |byte| byte ^ (1 << (bit % 8))),
            Edit::Remove(at, length) => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(length));
                bytes.drain(at..end);
            }
            Edit::Cut(at) => bytes.truncate(place(at)),
            Edit::Insert(at, byte) => bytes.insert(place(at), byte),
            Edit::Copy(from, length, to) => {
                let piece = piece(bytes, from, length);
                splice(bytes, place(to), &piece);
            }
            Edit::Repeat(at, length, times) => {
                let repeated = piece(bytes, at, length).repeat(usize::from(times));
                splice(bytes, place(at), &repeated);
            }
            Edit::Word(at, word) => {
                if let Some(word) = words.get(usize::from(word) % words.len().max(1)) {
                    splice(bytes, place(at), word.as_bytes());
                }
            }
        }
    }
}

fn replace(bytes: &mut [u8], at: u16, with: impl Fn(u8) -> u8) {
    if !bytes.is_empty() {
        let at = usize::from(at) % bytes.len();
        bytes[at] = with(bytes[at]);
    }
}

fn piece(bytes: &[u8], at: u16, length: u8) -> Vec<u8> {
    let at = usize::from(at) % (bytes.len() + 1);
    let end = bytes.len().min(at + usize::from(length));
    bytes[at..end].to_vec()
}

fn splice(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Words of a dictionary, put together.
pub fn sentence(words: &[&str], choice: &[u8]) -> String {
    let chosen = choice
        .iter()
        .map(|number| words[usize::from(*number) % words.len()]);
    chosen.collect()
}

/// The files of a folder of `seeds`, in the order of their names.
///
/// # Panics
/// When there are none.
pub fn seeds(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

/// Bytes in pieces, cut at these distances; what is left is the last piece.
pub fn cut<'a>(mut bytes: &'a [u8], distances: &[u16]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for distance in distances {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(*distance)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}
