//! SipHash-1-3: a hash with a secret key, so that nobody who chooses keys can make them pile up in one place.
//!
//! After J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012), with one compression and three
//! finalisation rounds, the variant that the standard libraries of Rust and Python use for their tables.

/// Hashes byte strings under a secret seed.
#[derive(Clone, Copy, Debug)]
pub struct SipHash {
    seed: [u64; 2],
}

impl SipHash {
    /// A hash with this seed, which ought to be unpredictable.
    pub fn new(seed: [u64; 2]) -> SipHash {
        SipHash { seed }
    }

    /// The hash of `bytes`.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let [k0, k1] = self.seed;
        let mut state = State([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ]);
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            state.compress(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        state.compress(u64::from_le_bytes(last) | (bytes.len() as u64) << 56);
        state.finish()
    }
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn compress(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        self.0.iter().fold(0, |hash, word| hash ^ word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn agrees_with_the_standard_library() {
        // `DefaultHasher::new()` is SipHash-1-3 under a key of zeros.
        let bytes: Vec<u8> = (0..100).collect();
        for len in 0..bytes.len() {
            let mut reference = DefaultHasher::new();
            reference.write(&bytes[..len]);
            assert_eq!(SipHash::new([0, 0]).hash(&bytes[..len]), reference.finish(), "{len} bytes");
        }
    }

    #[test]
    fn the_seed_matters() {
        assert_ne!(SipHash::new([1, 2]).hash(b"key"), SipHash::new([1, 3]).hash(b"key"));
    }
}
