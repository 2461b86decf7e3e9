mod flags;
fn main() {}
