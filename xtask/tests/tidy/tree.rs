//! The files of the checkout, without what builds leave in it.

use std::fs;
use std::path::{Path, PathBuf};

/// A file by its path from the top of the checkout, and its text.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    pub(crate) fn is_manifest(&self) -> bool {
        self.path == "Cargo.toml" || self.path.ends_with("/Cargo.toml")
    }
}

/// Folders that builds and tools make: none of them is in version control.
const MADE: [&str; 5] = [".git", "target", "corpus", "artifacts", "mutants.out"];

/// The top of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every text file.
pub(crate) fn files() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    gather(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // An empty or a wrong tree would pass every check.
    for known in ["Cargo.toml", "dataplane/path/src/walk.rs", "xtask/tests/tidy/tree.rs", ".ci/run"] {
        assert!(
            files.iter().any(|file| file.path == known),
            "{known} was not found under {}",
            root.display()
        );
    }
    files
}

fn gather(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let is_made = MADE.iter().any(|made| name.to_string_lossy().trim_end_matches(".old") == *made);
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !is_made {
            gather(root, &path, files);
        } else if kind.is_file() {
            // Another test may put a file here and take it away again; what is not text is not judged.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
}
