//! See `cbor_page` in `tests/src/fuzz.rs`.
#![no_main]

#[path = "../../tests/src/fuzz.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::cbor_page(bytes));
