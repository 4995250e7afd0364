//! The `yeet` program: everything is in the library.

fn main() {}
