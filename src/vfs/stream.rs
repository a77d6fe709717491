//! Large pieces of a file, past the page cache where that works.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::{DIRECT_ALIGN, File, Vfs, read_full_at, refuses_direct, write_all_at};

/// An open file, with a way past the page cache. Whoever uses it keeps to [`DIRECT_ALIGN`].
pub struct Stream {
    cached: Arc<dyn File>,
    direct: Option<Arc<dyn File>>,
}

impl Stream {
    /// For `path`, which is open as `cached`. That there is no way past the cache, for whatever reason, is no error.
    pub fn new(vfs: &dyn Vfs, path: &Path, cached: Arc<dyn File>) -> Stream {
        Stream { cached, direct: vfs.open_direct(path).unwrap_or(None) }
    }

    /// Through the page cache only.
    pub fn cached(cached: Arc<dyn File>) -> Stream {
        Stream { cached, direct: None }
    }

    /// The file, opened the usual way.
    pub fn file(&self) -> &dyn File {
        &*self.cached
    }

    /// Writes all of `bytes`.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(direct) = &self.direct {
            match write_all_at(&**direct, &mut [IoSlice::new(bytes)], offset) {
                Err(error) if refuses_direct(&error) => self.direct = None,
                result => return result,
            }
        }
        write_all_at(&*self.cached, &mut [IoSlice::new(bytes)], offset)
    }

    /// Reads until `buf` is full or the file ends; returns how much it read.
    pub fn read(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(direct) = &self.direct {
            match direct.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => return Ok(done),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if refuses_direct(&error) => self.direct = None,
                Err(error) => return Err(error),
            }
            if done == buf.len() {
                return Ok(done);
            }
            if !done.is_multiple_of(DIRECT_ALIGN) {
                // The end of the file, or nearly: what is left, if anything, is not aligned any more.
                break;
            }
        }
        Ok(done + read_full_at(&*self.cached, &mut buf[done..], offset + done as u64)?)
    }
}
