//! The page about metrics says what the catalogue says.

#![cfg(test)]

use std::fs;

use kcl_tests::metrics_page::{catalogue, java};
use kcl_tests::workspace::root;

#[test]
fn every_metric_is_documented_as_it_is() {
    let page = fs::read_to_string(root().join("docs/operating/metrics.md")).unwrap();
    for table in [catalogue(), java()] {
        assert!(
            page.contains(&table),
            "docs/operating/metrics.md lacks this table; `cargo run -p kcl-tests --bin \
             metrics_page` prints it:\n{table}"
        );
    }
}
