//! The files of the repository, as far as people wrote them.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file.
pub(crate) struct File {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Folders that builds and runs make.
const MADE: &[&str] = &["target", ".git", "data", "node_modules"];
/// Files whose text is not ours: the lock file, the licence, and the vectors made by other programs.
const FOREIGN: &[&str] = &[
    "Cargo.lock",
    "LICENSE",
    "protocol/tests/vectors/",
    "tests/vectors/",
];

/// Every text file under the root, by path.
pub(crate) fn files() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    files.sort_by(|left, right| left.path.cmp(&right.path));
    files
}

/// The folder that holds the workspace.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !MADE.iter().any(|made| name == *made) {
                collect(root, &path, files);
            }
            continue;
        }
        let relative = relative(root, &path);
        if FOREIGN.iter().any(|foreign| relative.starts_with(foreign)) {
            continue;
        }
        // What is no UTF-8 is no text.
        if let Ok(text) = fs::read_to_string(&path) {
            files.push(File {
                path: relative,
                text,
            });
        }
    }
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).iter();
    parts
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}
