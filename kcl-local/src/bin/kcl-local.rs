//! The local stack as a process, for clients in any language.
fn main() {}
