//! What the README's two commands call.
fn main() {}
