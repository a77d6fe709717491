//! What judges the runs: parts that tests use, too.

pub mod linear;
