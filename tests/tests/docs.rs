//! The documents agree with the code: settings, states, names of tests, links, lengths.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Debug;
    use std::fs;
    use std::path::PathBuf;

    use kcl_core::config::WorkerConfig;
    use kcl_dynamo::{DynamoLeaseStoreConfig, NewTable};
    use kcl_kinesis::{KinesisSourceConfig, StreamId};
    use kcl_proto::consumer::lifecycle::{Action, Event, State};
    use kcl_proto::worker::shutdown::BOUND;
    use kcl_sim::{Fault, Scenario};
    use kcl_tests::workspace::{files, root};

    fn read(path: &str) -> String {
        fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn all(extension: &str) -> Vec<PathBuf> {
        files(&root(), &[extension])
    }

    /// The cells of a table's row, without backticks.
    fn cells(line: &str) -> Vec<String> {
        let inner = line.trim().strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
        inner
            .expect("a row")
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    }

    /// The rows of all tables below a heading that begins like this, up to the next such heading.
    fn rows_below(text: &str, heading: &str) -> Vec<Vec<String>> {
        let level = heading.split(' ').next().expect("a heading").len();
        text.lines()
            .skip_while(|line| !line.starts_with(heading))
            .skip(1)
            .take_while(|line| {
                let hashes = line.chars().take_while(|letter| *letter == '#').count();
                hashes == 0 || hashes > level
            })
            .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
            .map(cells)
            .collect()
    }

    /// Settings and defaults of a table: rows whose first cell is a setting's name.
    fn documented(text: &str, heading: &str) -> BTreeMap<String, String> {
        rows_below(text, heading)
            .into_iter()
            .filter(|row| row.len() == 6 && row[0] != "Setting")
            .map(|row| (row[0].clone(), row[2].clone()))
            .collect()
    }

    /// The fields of a value as `{:?}` prints them, nested structs as `outer.inner`.
    fn fields(value: &impl Debug) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut outer = Vec::new();
        for line in format!("{value:#?}").lines().skip(1) {
            let line = line.trim().trim_end_matches(',');
            match line.split_once(": ") {
                Some((name, value)) if value.ends_with(" {") => outer.push(name.to_owned()),
                Some((name, value)) => {
                    let path = outer.iter().map(String::as_str).chain([name]);
                    found.insert(path.collect::<Vec<_>>().join("."), value.to_owned());
                }
                None => {
                    outer.pop();
                }
            }
        }
        found
    }

    #[test]
    fn every_setting_of_a_worker_is_documented_with_its_default() {
        let text = read("docs/using/configuration.md");
        assert_eq!(documented(&text, "## The worker"), fields(&WorkerConfig::default()));
    }

    #[test]
    fn every_setting_of_the_table_is_documented_with_its_default() {
        let mut told = documented(&read("docs/using/configuration.md"), "## The lease table");
        assert_eq!(told.remove("table").as_deref(), Some("required"));
        let mut set = fields(&DynamoLeaseStoreConfig::new("orders"));
        set.remove("table");
        set.extend(fields(&NewTable::default()));
        assert_eq!(told, set);
    }

    #[test]
    fn every_setting_of_the_stream_is_documented_with_its_default() {
        let mut told = documented(&read("docs/using/configuration.md"), "## The stream");
        assert_eq!(told.remove("stream").as_deref(), Some("required"));
        let mut set = fields(&KinesisSourceConfig::new(StreamId::Name("orders".into())));
        set.retain(|name, _| name.ends_with("timeout") || name == "encoding");
        assert_eq!(told, set);
    }

    const STATES: [State; 5] =
        [State::Initializing, State::Processing, State::Ending, State::Draining, State::Failing];

    /// What the page puts into words below its table.
    const LAST_STATES: [State; 3] = [State::Leaving, State::Losing, State::Stopped];

    const EVENTS: [Event; 10] = [
        Event::Succeeded,
        Event::Failed,
        Event::Panicked,
        Event::PauseOver,
        Event::EndReached,
        Event::DrainAsked,
        Event::Unrecoverable,
        Event::TimeUp,
        Event::DeadlinePassed,
        Event::LeaseLost,
    ];

    #[test]
    fn the_table_of_the_lifecycle_is_the_code() {
        let head = STATES.iter().map(|state| format!("{state:?}"));
        let mut table = vec![std::iter::once(String::new()).chain(head).collect::<Vec<_>>()];
        for event in EVENTS {
            let mut row = vec![format!("{event:?}")];
            for state in STATES {
                let (next, action) = state.on(event);
                row.push(format!("{next:?}: {action:?}"));
            }
            table.push(row);
            for state in LAST_STATES {
                assert_eq!(state.on(event), (State::Stopped, Action::Stop));
            }
        }
        assert_eq!(rows_below(&read("docs/concepts/consumer-lifecycle.md"), "## Table"), table);
    }

    /// Everything between backticks.
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    fn is_test_name(word: &str) -> bool {
        let is_snake =
            word.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_');
        is_snake && word.matches('_').count() >= 2
    }

    /// Paragraphs and rows of tables; code is left out.
    fn paragraphs(text: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        let mut is_code = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
                continue;
            }
            if line.trim().is_empty() || line.starts_with('|') {
                found.push(String::new());
            }
            if !is_code {
                let last = found.last_mut().expect("one at least");
                last.push_str(line);
                last.push('\n');
            }
        }
        found
    }

    #[test]
    fn tests_that_documents_name_exist() {
        let sources: String =
            all("rs").iter().map(|path| fs::read_to_string(path).expect("readable")).collect();
        for (path, marker) in [
            ("docs/concepts/semantics.md", "Tests: "),
            ("docs/internals/lease-protocol.md", "Held by "),
            ("ARCHITECTURE.md", "| "),
        ] {
            let text = read(path);
            let paragraphs = paragraphs(&text);
            let named: Vec<_> = paragraphs.iter().filter_map(|it| it.split_once(marker)).collect();
            assert!(!named.is_empty(), "{path} names no tests");
            for name in named.iter().flat_map(|(_, it)| quoted(it)).filter(|it| is_test_name(it)) {
                let is_there = sources.contains(&format!("fn {name}("))
                    || read("ci/check.sh").contains(name)
                    || read("clippy.toml").contains(&name.replace('_', "-"))
                    || read("Cargo.toml").contains(&format!("{name} ="));
                assert!(is_there, "{path} names {name}, which is no test");
            }
        }
    }

    #[test]
    fn paths_that_documents_name_exist() {
        let endings = [".rs", ".sh", ".md", ".txt", "/"];
        let mut count = 0;
        for path in all("md") {
            let paragraphs = paragraphs(&fs::read_to_string(&path).expect("readable"));
            for name in paragraphs
                .iter()
                .flat_map(|it| quoted(it))
                .filter(|it| it.contains('/') && !it.contains([' ', '(', '*']))
            {
                if endings.iter().any(|it| name.ends_with(it)) {
                    assert!(root().join(name).exists(), "{} names {name}", path.display());
                    count += 1;
                }
            }
        }
        assert!(count > 50, "documents name more paths than {count}");
    }

    #[test]
    fn every_claim_names_its_tests() {
        let text = read("docs/concepts/semantics.md");
        for claim in text.split("\n\n").filter(|it| it.starts_with("**")) {
            let tests = claim.split_once("\nTests: ").map(|(_, tests)| tests);
            let is_named = tests.is_some_and(|it| it.contains('`') || it.contains("no test yet"));
            assert!(is_named, "a claim without tests: {claim}");
        }
    }

    /// The variants of the enum `name` in a source file.
    fn variants(path: &str, name: &str) -> BTreeSet<String> {
        let text = read(path);
        let start = text.find(&format!("pub enum {name} {{")).expect("the enum");
        text[start..]
            .lines()
            .skip(1)
            .take_while(|line| *line != "}")
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()))
            .map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect())
            .collect()
    }

    #[test]
    fn operators_find_every_event_and_every_error() {
        let text = read("docs/operating/operations.md");
        for (heading, path, name) in [
            ("## Events", "kcl-core/src/report/event.rs", "Event"),
            ("### `RunError`", "kcl-core/src/report/run_error.rs", "RunError"),
            ("### `LeaseStoreError`", "kcl-core/src/backend/lease_store.rs", "LeaseStoreError"),
            ("### `SourceError`", "kcl-core/src/backend/record_source.rs", "SourceError"),
            ("### `CheckpointError`", "kcl-core/src/report/checkpoint_error.rs", "CheckpointError"),
        ] {
            let told: BTreeSet<_> =
                rows_below(&text, heading).into_iter().skip(1).map(|row| row[0].clone()).collect();
            assert_eq!(told, variants(path, name), "{heading}");
        }
    }

    #[test]
    fn lines_of_the_log_are_documented_as_they_are() {
        let log = read("kcl-core/src/report/log.rs");
        let rows = rows_below(&read("docs/operating/operations.md"), "## Events");
        for row in rows.iter().skip(1) {
            let line = row[1].split('`').nth(1).unwrap_or_default();
            assert!(log.contains(&format!("\"{line}\"")), "{} writes another line: {line}", row[0]);
        }
    }

    #[test]
    fn every_oracle_is_named_where_its_promise_is_made() {
        let promises =
            read("docs/concepts/semantics.md") + &read("docs/internals/lease-protocol.md");
        let named: BTreeSet<_> = promises.lines().flat_map(quoted).collect();
        let oracles = variants("kcl-sim/src/oracle/mod.rs", "Oracle");
        for oracle in &oracles {
            assert!(named.contains(oracle.as_str()), "no document makes the promise of {oracle}");
        }
        let rows = rows_below(&read("docs/internals/lease-protocol.md"), "## Oracles");
        for row in rows.iter().filter(|row| row[4] == "yes") {
            assert!(oracles.contains(&row[0]), "the simulator has no oracle {}", row[0]);
        }
    }

    #[test]
    fn testers_find_every_scenario_and_every_fault() {
        let text = read("docs/internals/testing.md");
        let told = |heading| -> BTreeSet<_> {
            rows_below(&text, heading).into_iter().skip(1).map(|row| row[0].clone()).collect()
        };
        let scenarios = Scenario::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(told("### Scenarios"), scenarios);
        assert_eq!(told("### Faults"), Fault::ALL.iter().map(ToString::to_string).collect());
    }

    #[test]
    fn the_simulated_test_is_the_example() {
        let page = read("docs/using/testing-your-processor.md");
        let code = page.split("```rust,ignore\n").nth(1).expect("a test");
        let code = code.split("```").next().expect("an end");
        let example = read("examples/tests/simulated.rs");
        let (_, test) = example.split_once("    #[test]\n").expect("a test");
        let lines = test.lines().take_while(|line| *line != "}");
        let test = lines.map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n");
        assert_eq!(code, "#[test]\n".to_owned() + &test.collect::<String>());
    }

    #[test]
    fn every_dependency_has_its_reason() {
        let told: BTreeSet<_> = rows_below(&read("docs/decisions/0008-dependencies.md"), "## Dec")
            .into_iter()
            .skip(1)
            .map(|row| row[0].clone())
            .collect();
        let manifest = read("Cargo.toml");
        let used: BTreeSet<_> = manifest
            .lines()
            .skip_while(|line| *line != "[workspace.dependencies]")
            .skip(1)
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, _)| name.to_owned())
            .filter(|name| !name.starts_with("kcl-") && name != "kinesis-consumer")
            .collect();
        assert_eq!(told, used);
    }

    #[test]
    fn links_of_guides_lead_to_modules() {
        let modules = read("kinesis-consumer/src/guide/mod.rs");
        let links = read("kinesis-consumer/src/guide/links.md");
        let labels: BTreeSet<_> = definitions(&links).map(|(label, _)| label).collect();
        let mut used = BTreeSet::new();
        let guides: Vec<_> = modules.lines().filter(|line| line.starts_with("guide!(")).collect();
        for guide in &guides {
            let text = read(&format!("docs/{}", guide.split('"').nth(1).expect("a path")));
            let inline = text.split("](").skip(1).find(|rest| !rest.starts_with('#'));
            assert!(
                inline.is_none(),
                "{guide} has a link that rustdoc does not follow: {inline:?}"
            );
            used.extend(definitions(&text).map(|(label, _)| label.to_owned()));
        }
        assert!(guides.len() >= 8, "there are more guides than {}", guides.len());
        assert!(used.iter().map(String::as_str).eq(labels), "{used:?} in {guides:?}");
    }

    #[test]
    fn the_bound_of_a_shutdown_is_documented() {
        let bound = format!("{} s", BOUND.as_secs());
        let settings = ["`shutdown.drain`", "`delivery.cancel_grace`"];
        let mut paths = all("md");
        paths.push(root().join("kcl-core/src/worker/mod.rs"));
        let mut count = 0;
        for path in paths {
            let text = fs::read_to_string(&path).expect("readable").replace("///", "");
            let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('|')).collect();
            let prose = lines.join(" ");
            let names_all = |it: &&str| settings.iter().all(|setting| it.contains(setting));
            for sentence in prose.split(". ").filter(names_all) {
                assert!(sentence.contains(&bound), "{}: {sentence}", path.display());
                count += 1;
            }
        }
        assert!(count >= 3, "the bound is documented {count} times");
    }

    /// A heading as the fragment that leads to it.
    fn fragment(heading: &str) -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        kept.collect::<String>().replace(' ', "-")
    }

    /// Labels of links and where they lead: the lines `[label]: target`.
    fn definitions(text: &str) -> impl Iterator<Item = (&str, &str)> {
        text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
    }

    #[test]
    fn every_reference_has_its_definition() {
        for path in all("md") {
            let text = fs::read_to_string(&path).expect("readable");
            let labels: BTreeSet<_> =
                definitions(&text).map(|(label, _)| label.to_lowercase()).collect();
            let mut used = BTreeSet::new();
            for paragraph in paragraphs(&text) {
                let prose: String = paragraph.split('`').step_by(2).collect();
                for rest in prose.split("][").skip(1) {
                    let label = rest.split(']').next().expect("a reference's end");
                    used.insert(label.replace('\n', " ").to_lowercase());
                }
            }
            let missing: Vec<_> = used.difference(&labels).collect();
            assert!(missing.is_empty(), "{} does not define {missing:?}", path.display());
        }
    }

    #[test]
    fn links_lead_somewhere() {
        let mut count = 0;
        for path in all("md") {
            let text = fs::read_to_string(&path).expect("readable");
            let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in inline.chain(definitions(&text).map(|(_, target)| target)) {
                if target.contains("://") || target.starts_with("crate::") {
                    continue;
                }
                let (file, place) = target.split_once('#').unwrap_or((target, ""));
                let here = path.parent().expect("a folder");
                let file = if file.is_empty() { path.clone() } else { here.join(file) };
                assert!(file.exists(), "{} links to {target}", path.display());
                let is_there = place.is_empty()
                    || fs::read_to_string(&file)
                        .expect("readable")
                        .lines()
                        .any(|line| line.starts_with('#') && fragment(line) == place);
                assert!(is_there, "{} links to {target}", path.display());
                count += 1;
            }
        }
        assert!(count > 30, "there are more links than {count}");
    }

    #[test]
    fn prose_has_at_most_100_columns() {
        for path in all("md") {
            let text = fs::read_to_string(&path).expect("readable");
            let prose = paragraphs(&text).into_iter().filter(|it| !it.starts_with('|'));
            for line in prose.flat_map(|it| it.lines().map(str::to_owned).collect::<Vec<_>>()) {
                let is_definition = definitions(&line).next().is_some();
                let columns = line.chars().count();
                assert!(is_definition || columns <= 100, "{}: {line}", path.display());
            }
        }
    }

    #[test]
    fn no_document_is_longer_than_it_is_read() {
        for (path, lines_max) in
            [("README.md", 150), ("ARCHITECTURE.md", 300), ("CONTRIBUTING.md", 100)]
        {
            let lines = read(path).lines().count();
            assert!(lines <= lines_max, "{path} has {lines} lines, more than {lines_max}");
        }
    }

    #[test]
    fn the_first_example_is_the_program() {
        let readme = read("README.md");
        let block = readme.split("```rust").nth(1).expect("an example");
        let (_, code) = block.split_once('\n').expect("a first line");
        let code = code.split("```").next().expect("an end");
        assert_eq!(code, read("examples/src/bin/hello.rs"));
    }

    #[test]
    fn the_front_page_is_the_program() {
        let page = read("kinesis-consumer/src/lib.rs");
        let lines = page.lines().skip_while(|line| *line != "//! ```no_run").skip(1);
        let lines = lines.take_while(|line| *line != "//! ```");
        let code: Vec<_> = lines
            .map(|line| line.strip_prefix("//!").expect("a page").trim_start_matches(' '))
            .collect();
        let program = read("examples/src/bin/hello.rs");
        let program: Vec<_> = program.lines().map(str::trim_start).collect();
        assert_eq!(code, program);
    }

    #[test]
    fn every_decision_is_listed() {
        let listed = read("ARCHITECTURE.md");
        for path in files(&root().join("docs/decisions"), &["md"]) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(listed.contains(&name), "ARCHITECTURE.md does not list {name}");
        }
    }
}
