//! Prints the tables of `docs/operating/metrics.md`.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use kcl_tests::metrics_page::{catalogue, java};

fn main() {
    println!("{}\n{}", catalogue(), java());
}
