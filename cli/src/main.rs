//! `kvwal`: looks into, changes, checks, saves and repairs stores. See `docs/cli.md`.

mod args;
mod bytes;
mod commands;
mod failure;
mod interruption;
mod opening;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;
use crate::failure::{Exit, Result};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                // If nobody can be told, the exit code must do.
                return Exit::Usage.into();
            }
            // Help goes to standard output, and is no failure.
            return ended("help", printed.map(|()| Exit::Done).map_err(output::failed));
        }
    };
    let name = arguments.command.name();
    interruption::watch(name);
    ended(name, commands::run(&arguments))
}

fn ended(name: &str, result: Result<Exit>) -> ExitCode {
    result
        .unwrap_or_else(|failure| {
            failure.report(name);
            failure.exit
        })
        .into()
}
