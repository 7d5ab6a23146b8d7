//! The files of this workspace, for tests that check them.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the workspace's folder.
///
/// # Panics
/// If this package has no parent folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Returns the files below `folder` that have one of these extensions. Skips build folders, hidden
/// files and symbolic links: each file counts once.
///
/// # Panics
/// If a folder cannot be read.
#[must_use]
pub fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(|it| extensions.iter().any(|ours| it == *ours)) {
            found.push(path);
        }
    }
    found
}
