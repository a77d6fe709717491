//! `kv_server`: see the library of this crate, and docs/server.md.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use kv_server::cli::{Cli, Request};
use kv_server::{log, run};

fn main() -> ExitCode {
    match Cli::parse().request() {
        Request::Completions(shell) => {
            clap_complete::generate(shell, &mut Cli::command(), "kv_server", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Request::Man => match clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::say(format_args!("kv_server: the man page: {error}"));
                ExitCode::FAILURE
            }
        },
        Request::Serve(config, level) => {
            log::start(level);
            match run::serve(config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => {
                    log::say(format_args!("kv_server: {reason}"));
                    ExitCode::FAILURE
                }
            }
        }
    }
}
