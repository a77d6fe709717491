//! Looks for a crash, a fault or a schedule that makes kvwal lose data.

fn main() {}
