//! A durable key-value store, to be linked into a program: an acknowledged write survives the power cut.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path().join("store");
//! use kvwal::{Options, Store};
//!
//! let store = Store::open(&dir, &Options::default())?;
//! store.set(b"name", b"Ada")?; // on the disk when it returns
//! assert_eq!(store.get(b"name")?.as_deref(), Some(&b"Ada"[..]));
//! store.close()?;
//! # Ok::<(), kvwal::Error>(())
//! ```
//!
//! Every change goes to a checksummed write-ahead log and is synced before it is acknowledged or visible (`commit`,
//! [`wal`]); a hash table in memory serves reads (`table`); a `checkpoint` lets the log start again; after any
//! crash the store is an exact prefix of what was written (`recovery`). C programs use the same through
//! `include/kvwal.h`, of which `ffi` is the implementation. `ARCHITECTURE.md` is the map.

mod archive;
mod backup;
mod batch;
mod building;
mod checkpoint;
mod checkpoints;
mod chores;
mod commit;
mod directory;
mod engine;
mod error;
mod ffi;
pub mod format;
mod lock;
mod options;
mod pipe;
mod recovery;
mod report;
mod restore;
mod store;
mod sys;
mod table;
mod tail;
pub mod threads;
mod transaction;
mod verify;
pub mod vfs;
pub mod wal;
mod watchers;
mod write;

pub use batch::Batch;
pub use checkpoint::layout as checkpoint_layout;
pub use error::{Error, ErrorKind, Result};
pub use options::{Options, RecoveryMode, Size, SyncMode};
pub use report::{Report, Verdict};
pub use restore::{Restored, Sources, Until, restore, restore_on};
pub use store::{Stats, Store};
pub use tail::{Next, Tail};
pub use transaction::{Entry, Transaction, Work};
pub use verify::{FileSizes, Verified, verify, verify_on};

/// The Rust in the documents compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/getting-started.md")]
struct Documents;
