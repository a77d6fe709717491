//! `kvwal`: looks into, changes, checks, saves and repairs stores. See `docs/cli.md`.

mod args;
mod bytes;
mod commands;
mod failure;
mod opening;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;
use crate::failure::Exit;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to standard output, and is no failure. If nobody can be told, the exit code must do.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let name = arguments.command.name();
    match commands::run(&arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(name);
            failure.exit.into()
        }
    }
}
