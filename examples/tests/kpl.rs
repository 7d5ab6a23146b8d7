//! The example of aggregated records shows what its header says.

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn the_example_of_aggregated_records_shows_what_its_header_says() {
        let output = Command::new(env!("CARGO_BIN_EXE_kpl")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let source = include_str!("../src/bin/kpl.rs");
        let told = source.lines().skip_while(|line| !line.contains("```text")).skip(1);
        let told = told.take_while(|line| !line.contains("```"));
        let told: Vec<_> = told.map(|line| line.trim_start_matches("//! ")).collect();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(shown.lines().collect::<Vec<_>>(), told);
        assert!(source.lines().count() <= 80, "an example is at most 80 lines long");
    }
}
