//! The shape that `src/lib.rs` promises: the core is pure, arrows point inward only, no two files import each other in a
//! circle, guard kinds are told apart in `guards` alone, and no file or folder outgrows its reader.

mod gates;
mod imports;
mod kinds;
mod modules;
mod sizes;
mod source;
