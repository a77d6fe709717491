//! What the commands do, a file for each group of them.

mod backup;
mod bench;
mod data;
mod dump;
mod files;
mod generate;
mod inspect;
mod load;
mod records;
mod repair;
mod restore;
mod tail;

use crate::args::{Arguments, Command};
use crate::failure::{Exit, Result};
use crate::output::Output;

impl Command {
    /// The name that it is called by.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Get(_) => "get",
            Command::Set(_) => "set",
            Command::Del(_) => "del",
            Command::Scan(_) => "scan",
            Command::Count(_) => "count",
            Command::Dump(_) => "dump",
            Command::Load(_) => "load",
            Command::Stat(_) => "stat",
            Command::Verify(_) => "verify",
            Command::Tail(_) => "tail",
            Command::Inspect(_) => "inspect",
            Command::Repair(_) => "repair",
            Command::Checkpoint(_) => "checkpoint",
            Command::Backup(_) => "backup",
            Command::Restore(_) => "restore",
            Command::Bench(_) => "bench",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
        }
    }
}

/// Does what was asked for. All that was printed has arrived when it returns.
pub fn run(arguments: &Arguments) -> Result<Exit> {
    let output = &mut Output::new(arguments.json);
    let done = match &arguments.command {
        Command::Get(args) => data::get(args, output),
        Command::Set(args) => data::set(args, output),
        Command::Del(args) => data::del(args, output),
        Command::Scan(args) => data::scan(args, output),
        Command::Count(args) => data::count(args, output),
        Command::Dump(args) => dump::dump(args, output),
        Command::Load(args) => load::load(args, output),
        Command::Stat(args) => files::stat(args, output),
        Command::Verify(args) => files::verify(args, output),
        Command::Tail(args) => tail::tail(args, output),
        Command::Inspect(args) => inspect::inspect(args, output),
        Command::Repair(args) => repair::repair(args, output),
        Command::Checkpoint(args) => files::checkpoint(args, output),
        Command::Backup(args) => backup::backup(args, output),
        Command::Restore(args) => restore::restore(args, output),
        Command::Bench(args) => bench::bench(args, output),
        Command::Completions(args) => generate::completions(args, output),
        Command::Man(args) => generate::man(args, output),
    };
    // Also what was printed before a failure.
    let flushed = output.flush();
    let exit = done?;
    flushed.map(|()| exit)
}
