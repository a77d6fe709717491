//! The records that a run left in log files.

use std::collections::BTreeMap;

use kvwal::format::{self, Lsn, Op};
use kvwal::vfs::sim::{Moment, SimDisk};

use crate::run::DIR;

/// The names that a log may have.
pub const NAMES: [&str; 2] = ["wal.log", "wal.next"];

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub op: Op,
    pub more: bool,
    pub durable_lsn: Lsn,
    pub expires_at: u64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Records by their LSN.
#[derive(Clone, Debug, Default)]
pub struct Logs(pub BTreeMap<Lsn, Logged>);

impl Logs {
    /// Of all logs that there were up to then, those that have been retired included.
    pub fn up_to(moment: &Moment) -> Logs {
        Logs::of(moment.made_as(&NAMES))
    }

    /// Of the logs that there are now.
    pub fn now(disk: &SimDisk) -> Logs {
        Logs::of(NAMES.iter().filter_map(|name| contents(disk, name)))
    }

    fn of(files: impl IntoIterator<Item = Vec<u8>>) -> Logs {
        let mut logs = Logs::default();
        for file in files {
            logs.read(&file);
        }
        logs
    }

    /// Notes the valid records at the beginning of a file.
    fn read(&mut self, file: &[u8]) {
        let mut last: Option<Lsn> = None;
        let mut rest = file;
        while let Ok(record) = format::decode(rest)
            && last.is_none_or(|last| record.lsn == last + 1)
        {
            last = Some(record.lsn);
            let logged = Logged {
                op: record.op,
                more: record.more,
                durable_lsn: record.durable_lsn,
                expires_at: record.expires_at,
                key: record.key.to_vec(),
                value: record.value.to_vec(),
            };
            self.0.insert(record.lsn, logged);
            rest = &rest[record.encoded_len()..];
        }
    }
}

/// How much of a log is valid records, from its beginning.
pub fn valid_len(file: &[u8]) -> usize {
    let mut rest = file;
    while let Ok(record) = format::decode(rest) {
        rest = &rest[record.encoded_len()..];
    }
    file.len() - rest.len()
}

/// What a file of the store holds.
pub fn contents(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    disk.contents(format!("{DIR}/{name}"))
}
