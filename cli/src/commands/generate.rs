//! `completions` and `man`: from the same definitions as the command line itself.

use std::fs;

use clap::CommandFactory;

use crate::args::{self, Arguments};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

pub fn completions(args: &args::Completions, output: &mut Output) -> Result<Exit> {
    // It is made in memory first, for what makes it does not expect that writing fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "kvwal", &mut script);
    output.bytes(&script)?;
    Ok(Exit::Done)
}

/// Writes `kvwal.1`, and `kvwal-get.1` and so on.
pub fn man(args: &args::Man, _: &mut Output) -> Result<Exit> {
    fs::create_dir_all(&args.dir).map_err(|cause| Failure::io("make the directory", &args.dir, &cause))?;
    let command = Arguments::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &args.dir).map_err(|cause| Failure::io("write", &args.dir, &cause))?;
    Ok(Exit::Done)
}
