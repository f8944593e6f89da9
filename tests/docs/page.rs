//! The pages, and the blocks of code in them.

use std::fs;
use std::path::{Path, PathBuf};

/// A page of the documentation.
pub(crate) struct Page {
    /// Its path, from the root of the repository.
    pub(crate) path: PathBuf,
    /// All of it.
    pub(crate) text: String,
}

/// A block of code.
pub(crate) struct Block {
    /// What stands behind its fence, as in `toml`.
    pub(crate) language: String,
    /// The last line of text before it.
    pub(crate) before: String,
    /// What is in it.
    pub(crate) text: String,
}

/// Returns a path below the root of the repository.
pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Page {
    /// Reads a page.
    pub(crate) fn read(path: &str) -> Page {
        let text = fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Page { path: path.into(), text }
    }

    /// Returns its blocks of code, in order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        let mut before = "";
        for line in self.text.lines() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    let (language, before) = (language.to_owned(), before.to_owned());
                    open = Some(Block { language, before, text: String::new() });
                }
                (Some(_), Some(_)) => {
                    blocks.extend(open.take());
                    before = "";
                }
                (Some(block), None) => block.text.extend([line, "\n"]),
                (None, None) if !line.is_empty() => before = line,
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{} has a block that is not closed", self.path.display());
        blocks
    }

    /// Returns what stands between backticks in its text, outside blocks.
    pub(crate) fn spans(&self) -> Vec<String> {
        let mut is_block = false;
        let mut spans = Vec::new();
        for line in self.text.lines() {
            if line.starts_with("```") {
                is_block = !is_block;
            } else if !is_block {
                spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
        spans
    }
}

/// Returns every page.
pub(crate) fn all() -> Vec<Page> {
    let mut paths: Vec<_> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(PathBuf::from).into();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root("").join(&folder)).expect("a folder of pages") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            match path.extension() {
                _ if entry.path().is_dir() => folders.push(path),
                Some(extension) if extension == "md" => paths.push(path),
                _ => {}
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| Page::read(&path.to_string_lossy())).collect()
}
