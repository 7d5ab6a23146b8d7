//! House rules that no lint knows.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The most lines of a file, tests included.
    const LINES_MAX: usize = 500;

    /// What pure code never names.
    const IMPURE: [&str; 7] = [
        "async ",
        ".await",
        "tokio::",
        "tracing::",
        "Instant::now",
        "SystemTime::now",
        "rand::rng(",
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    fn each_source(mut check: impl FnMut(&Path, &str)) {
        let mut found = Vec::new();
        sources(&root(), &mut found);
        assert!(found.len() > 50, "the workspace has more files than {}", found.len());
        for path in found {
            let text = fs::read_to_string(&path).expect("readable text");
            check(path.strip_prefix(root()).expect("inside the workspace"), &text);
        }
    }

    #[test]
    fn no_file_is_longer_than_it_can_be_read() {
        let mut long = Vec::new();
        each_source(|path, text| {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                long.push(format!("{}: {lines}", path.display()));
            }
        });
        assert!(long.is_empty(), "over {LINES_MAX} lines: {long:#?}");
    }

    #[test]
    fn every_file_says_first_what_it_is_for() {
        each_source(|path, text| {
            assert!(text.starts_with("//! "), "{} has no first line", path.display());
        });
    }

    #[test]
    fn decisions_and_data_are_pure() {
        each_source(|path, text| {
            let is_pure = path.starts_with("kcl-proto/src");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code.filter(|_| is_pure) {
                for word in IMPURE {
                    assert!(!line.contains(word), "{} has {word:?}: {line}", path.display());
                }
            }
        });
    }
}
