//! Keys and values that can be told from each other.

use std::sync::Arc;

use kvwal::vfs::sim::Random;

/// Shorter values do not say whose they are.
const NAMED: usize = 6;

/// The value that the change `index` of the call `call` sets, `len` bytes long: who it is, and then what follows from
/// that.
pub fn value(call: u32, index: u16, len: usize) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(len + 8);
    bytes.extend_from_slice(&call.to_be_bytes());
    bytes.extend_from_slice(&index.to_be_bytes());
    let mut random = Random::new(u64::from(call) << 16 | u64::from(index));
    // Values of zeros look like space that was allocated ahead.
    let is_blank = random.below(5) == 0;
    while bytes.len() < len {
        let word = if is_blank { 0 } else { random.any() };
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// Whether a value says whose it is.
pub fn is_named(value: &[u8]) -> bool {
    value.len() >= NAMED
}

/// The key of a number: of all lengths, none included.
pub fn key(number: u8) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        1..=3 => vec![b'k'; usize::from(number)],
        11 => vec![number; 300],
        _ => format!("key-{number}").into_bytes(),
    }
}
