//! Hot backup: a store of its own that holds what an open one held at one moment.
//!
//! It is a checkpoint that goes elsewhere. The same snapshot serves it, so writers go on and the store's own checkpoints do,
//! too; the same writer streams it past the page cache, and reads it back. An empty log beside it makes it a store, whose next
//! record has the LSN after the snapshot's. [`Building`] has the order in which it appears. Nothing of it touches the store's
//! files, so its failures are its own: the store's handle does not fail for them.

use std::path::Path;

use crate::building::Building;
use crate::engine::Engine;
use crate::error::Result;
use crate::format::Lsn;

/// Makes a backup in `dir`, an absolute path; returns the LSN as of which it is.
pub fn make(engine: &Engine, dir: &Path) -> Result<Lsn> {
    let building = Building::begin(&engine.vfs, dir)?;
    let written = engine.write_snapshot(building.vfs(), building.checkpoint(), engine.snapshot(), 0)?;
    building.create_log()?;
    building.complete(true)?;
    Ok(written.lsn)
}
