//! A small model server.

fn main() {}
