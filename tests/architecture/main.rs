//! The shape that `src/lib.rs` promises: the core is pure, arrows point inward only, no two files import each other in a
//! circle, and no file or folder outgrows its reader.

mod imports;
mod modules;
mod sizes;
mod source;
