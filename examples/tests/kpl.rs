//! The example of aggregated records prints what its header says.

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn kpl_prints_what_its_header_says() {
        let output = Command::new(env!("CARGO_BIN_EXE_kpl")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let source = include_str!("../src/bin/kpl.rs");
        let expected = source.lines().skip_while(|line| !line.contains("```text")).skip(1);
        let expected = expected.take_while(|line| !line.contains("```"));
        let expected: Vec<_> = expected.map(|line| line.trim_start_matches("//! ")).collect();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
        assert!(source.lines().count() <= 80, "an example is at most 80 lines long");
    }
}
