//! The `guardbit` binary.

fn main() {}
