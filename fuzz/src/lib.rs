//! What the fuzz targets share: bringing the checksums of arbitrary bytes into order, so that the fuzzer gets behind them,
//! and the checks of the damage tests.

#[path = "../../tests/support/counting.rs"]
pub mod counting;
pub mod seal;
#[path = "../../tests/support/mod.rs"]
pub mod support;

use counting::Allocated;

/// Bytes that an opening may take, however small the files are: the reader's buffers, and the copies that a simulated
/// disk and the checks make.
const MEMORY: usize = 32 << 20;
/// The largest of the buffers.
const LARGEST: usize = 4 << 20;

/// Runs a check of an input, and sees to it that the memory it takes is within what an input of this length can need.
pub fn bounded(input: &[u8], run: impl FnOnce()) {
    let mapped = counting::mapped();
    let ((), Allocated { most, largest }) = counting::while_running(run);
    assert!(largest <= LARGEST + 2 * input.len(), "{largest} bytes at once for an input of {}", input.len());
    assert!(most <= MEMORY + 64 * input.len(), "{most} bytes for an input of {}", input.len());
    let mapped = counting::mapped() - mapped;
    assert!(mapped <= MEMORY + 64 * input.len(), "{mapped} bytes mapped for an input of {}", input.len());
}
