//! House rules that no lint checks.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use kcl_tests::workspace::{files, root};

    /// The maximum number of lines of a file, tests included.
    const LINES_MAX: usize = 500;

    /// Words that pure code never contains.
    const IMPURE: [&str; 7] = [
        "async ",
        ".await",
        "tokio::",
        "tracing::",
        "Instant::now",
        "SystemTime::now",
        "rand::rng(",
    ];

    /// Words that hide who does what, and how many of them comments and documents may have.
    const VAGUE: [&str; 14] = [
        "told",
        "nobody",
        "somebody",
        "anybody",
        "everybody",
        "whoever",
        "goes on",
        "any more",
        "so many",
        "lets go",
        "let go",
        "given up",
        "for ever",
        "shall",
    ];
    const VAGUE_MAX: usize = 60;

    fn each_source(mut check: impl FnMut(&Path, &str)) {
        let found = files(&root(), &["rs"]);
        assert!(found.len() > 50, "the workspace has more files than {}", found.len());
        for path in found {
            let text = fs::read_to_string(&path).expect("readable text");
            check(path.strip_prefix(root()).expect("inside the workspace"), &text);
        }
    }

    #[test]
    fn no_file_exceeds_the_line_limit() {
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
    fn every_file_starts_with_its_purpose() {
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

    #[test]
    fn comments_and_documents_use_plain_words() {
        let mut vague = Vec::new();
        for path in files(&root(), &["rs", "md"]) {
            let text = fs::read_to_string(&path).expect("readable text").to_lowercase();
            let is_code = path.extension().is_some_and(|it| it == "rs");
            for line in text.lines() {
                let prose =
                    if is_code { line.split_once("//").map_or("", |it| it.1) } else { line };
                let words = prose.split(|it: char| !it.is_alphabetic()).filter(|it| !it.is_empty());
                let spaced = format!(" {} ", words.collect::<Vec<_>>().join(" "));
                let has = |word: &&&str| spaced.contains(&format!(" {word} "));
                vague
                    .extend(VAGUE.iter().filter(has).map(|it| format!("{}: {it}", path.display())));
            }
        }
        assert!(vague.len() <= VAGUE_MAX, "more than {VAGUE_MAX} vague words: {vague:#?}");
    }
}
