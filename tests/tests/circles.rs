//! No circle of files and no circle of folders within a crate, so that a file can be read from the
//! bottom up.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    use kcl_tests::workspace::root;

    /// A module or an item of a crate, such as `["lease", "expiry"]`.
    type Name = Vec<String>;
    type Arrows = BTreeMap<Name, BTreeSet<Name>>;

    /// The paths of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
    fn paths(tree: &str) -> Vec<Name> {
        let Some((head, body)) = tree.split_once('{') else {
            let path = tree.split(" as ").next().unwrap_or_default();
            return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
        };
        let (mut depth, mut trees) = (0_i32, vec![String::new()]);
        for letter in body[..body.rfind('}').expect("a closed group")].chars() {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            match (letter, depth) {
                (',', 0) => trees.push(String::new()),
                _ => trees.last_mut().expect("a tree").push(letter),
            }
        }
        let inner = trees.iter().filter(|tree| !tree.trim().is_empty());
        inner.flat_map(|tree| paths(&format!("{head}{tree}"))).collect()
    }

    /// What a file uses of its own crate, each with whether the file passes it on.
    fn uses(module: &[String], text: &str) -> Vec<(bool, Name)> {
        let absolute = |path: Name| match path.first().map(String::as_str) {
            Some("crate") => Some(path[1..].to_vec()),
            Some("super") if path.get(1)? != "super" && path.get(1)? != "*" => {
                Some([&module[..module.len().checked_sub(1)?], &path[1..]].concat())
            }
            _ => None,
        };
        let own = |path: Name| (path[0] != "super").then(|| [module, &path[..]].concat());
        let mut found = Vec::new();
        let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        while let Some(line) = lines.next() {
            if let Some((before, tree)) = line.split_once("use ")
                && ["", "pub", "pub(crate)", "pub(super)"].contains(&before.trim())
            {
                let mut tree = tree.to_owned();
                while !tree.contains(';') {
                    tree.push_str(lines.next().expect("a `use` ends"));
                }
                let is_export = !before.trim().is_empty();
                for path in paths(tree.trim_end_matches(';')) {
                    let name = absolute(path.clone()).or_else(|| own(path).filter(|_| is_export));
                    found.extend(name.map(|name| (is_export, name)));
                }
            } else {
                let words = line.split(|it: char| !it.is_alphanumeric() && !"_:".contains(it));
                let inline = words.filter(|word| word.starts_with("crate::"));
                found.extend(inline.flat_map(paths).filter_map(absolute).map(|it| (false, it)));
            }
        }
        found
    }

    /// Which file of a crate uses which.
    fn arrows(sources: &Path) -> Arrows {
        let mut files = BTreeMap::new();
        read(sources, &mut Vec::new(), &mut files);
        let used: BTreeMap<_, _> = files.iter().map(|(at, text)| (at, uses(at, text))).collect();
        let exports: BTreeMap<Name, Name> = used
            .iter()
            .flat_map(|(at, uses)| uses.iter().map(|(is_export, name)| (*at, is_export, name)))
            .filter(|(at, is_export, name)| {
                **is_export && !files.contains_key(*name) && *at != *name
            })
            .map(|(at, _, name)| ([&at[..], &name[name.len() - 1..]].concat(), name.clone()))
            .collect();
        let owner = |name: &Name| {
            let mut name = name.clone();
            for _ in 0..8 {
                name = exports.get(&name).cloned().unwrap_or(name); // Passed on, perhaps several times.
            }
            while !files.contains_key(&name) {
                name.pop();
            }
            name
        };
        let mut arrows = Arrows::new();
        for (at, uses) in used {
            let below = |name: &Name, is_export| is_export && name.starts_with(at);
            let targets = uses.iter().map(|(is_export, name)| (owner(name), *is_export));
            let targets =
                targets.filter(|(name, is_export)| name != at && !below(name, *is_export));
            arrows.insert(at.clone(), targets.map(|(name, _)| name).collect());
        }
        arrows
    }

    fn read(folder: &Path, at: &mut Name, files: &mut BTreeMap<Name, String>) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() && name != "bin" {
                at.push(name);
                read(&path, at, files);
                at.pop();
            } else if path.extension().is_some_and(|it| it == "rs") {
                let own = if name == "mod" || name == "lib" { vec![] } else { vec![name] };
                let text = fs::read_to_string(&path).expect("readable text");
                files.insert([&at[..], &own[..]].concat(), text);
            }
        }
    }

    /// What is left when files that use no other, or that no other uses, are taken away again and
    /// again: the circles, and what lies between them.
    fn circles(mut arrows: Arrows) -> Arrows {
        loop {
            let count = arrows.len();
            let used: BTreeSet<_> = arrows.values().flatten().cloned().collect();
            arrows.retain(|name, targets| !targets.is_empty() && used.contains(name));
            let left: BTreeSet<_> = arrows.keys().cloned().collect();
            arrows.values_mut().for_each(|targets| targets.retain(|it| left.contains(it)));
            if arrows.len() == count {
                return arrows;
            }
        }
    }

    const CRATES: [&str; 10] = [
        "kcl-aws",
        "kcl-core",
        "kcl-dynamo",
        "kcl-http",
        "kcl-kinesis",
        "kcl-local",
        "kcl-metrics",
        "kcl-proto",
        "kcl-sim",
        "quickstart",
    ];

    #[test]
    fn no_circle_of_files_or_folders() {
        for name in CRATES {
            let files = arrows(&root().join(name).join("src"));
            assert!(files.values().any(|targets| !targets.is_empty()), "{name}: no arrow found");
            let mut folders = Arrows::new();
            for (from, to) in files.iter().flat_map(|(at, to)| to.iter().map(move |to| (at, to))) {
                if let (Some(from), Some(to)) = (from.first(), to.first())
                    && from != to
                {
                    folders.entry(vec![from.clone()]).or_default().insert(vec![to.clone()]);
                }
            }
            assert_eq!(circles(files), Arrows::new(), "circles of files in {name}");
            assert_eq!(circles(folders), Arrows::new(), "circles of folders in {name}");
        }
    }

    #[test]
    fn circle_is_found() {
        let name = |it: &str| vec![it.to_owned()];
        let arrows = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "e")];
        let arrows = arrows.iter().map(|(from, to)| (name(from), BTreeSet::from([name(to)])));
        let left: Vec<_> = circles(arrows.collect()).into_keys().collect();
        assert_eq!(left, [name("b"), name("c")]);
    }
}
