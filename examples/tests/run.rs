//! The examples do what their headers say.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    fn run(program: &str) -> Vec<String> {
        let output = Command::new(program).output().unwrap();
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program}: {text}\n{errors}");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn dead_letter_stores_two_records() {
        let lines = run(env!("CARGO_BIN_EXE_dead_letter"));
        let letters = lines.iter().filter(|line| line.contains("cannot process hello")).count();
        assert!(letters >= 2, "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("processed hello")), "{lines:#?}");
        assert!(
            !lines.iter().any(|it| it.starts_with("processed") && it.ends_with('5')),
            "{lines:#?}"
        );
    }

    #[test]
    fn two_phase_writes_no_record_twice() {
        let lines = run(env!("CARGO_BIN_EXE_two_phase_checkpoint"));
        assert!(lines.iter().any(|line| line.starts_with("found shardId-")), "{lines:#?}");
        assert!(lines.iter().filter(|line| line.starts_with("wrote")).count() >= 8, "{lines:#?}");
        assert_eq!(
            lines.last().map(String::as_str),
            Some("no record is there twice"),
            "{lines:#?}"
        );
    }

    #[test]
    fn per_key_keeps_the_order_of_each_key() {
        let lines = run(env!("CARGO_BIN_EXE_per_key"));
        assert!(lines.len() >= 40, "{lines:#?}");
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for line in &lines {
            let (key, number) = line.split_once(": hello ").unwrap();
            let number = number.parse().unwrap();
            let before = last.insert(key.to_owned(), number);
            assert!(before.is_none_or(|before| before < number), "{lines:#?}");
        }
        assert_eq!(last.len(), 8, "{lines:#?}");
    }
}
