//! `dump`: all keys of one moment, as text.

use std::io::{self, Write};

use super::data;
use super::records::{self, EntryWriter};
use crate::args;
use crate::bytes::Encoding;
use crate::failure::{Exit, Failure, Result};
use crate::opening;
use crate::output::{self, NewFile, Output};
use crate::progress;

pub fn dump(args: &args::Dump, output: &mut Output) -> Result<Exit> {
    let prefix = data::prefix(args.prefix.as_deref(), Encoding::Plain)?;
    let format = records::format(args.format, args.output.as_deref());
    // Before the store is opened, which may take long.
    let file = args.output.as_deref().map(|path| NewFile::create(path, &args.store)).transpose()?;
    let store = opening::for_reading(&args.store)?;
    let bar = progress::bar("dumping", store.stats().keys);
    let write_all = |to: &mut dyn Write| -> Result<io::Result<()>> {
        let mut writer = match EntryWriter::new(format, to) {
            Ok(writer) => writer,
            Err(cause) => return Ok(Err(cause)),
        };
        let mut written = Ok(());
        store.scan_expiring(&prefix, |key, value, expires_at| {
            written = writer.write(key, value, expires_at);
            bar.inc(1);
            written.is_ok()
        })?;
        Ok(written.and_then(|()| writer.into_inner().map(drop)))
    };
    match file {
        Some(mut file) => {
            write_all(&mut file)?.map_err(|cause| Failure::io("write", file.path(), &cause))?;
            file.finish()?;
        }
        None => write_all(output)?.map_err(output::failed)?,
    }
    drop(bar);
    opening::close(store)?;
    Ok(Exit::Done)
}
