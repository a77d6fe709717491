//! A hash with a secret seed, so that nobody who chooses keys can make them pile up in one place.
//!
//! Two words at a time are multiplied, each mixed with a secret first, and the halves of the 128-bit product folded
//! together: the construction of Wang Yi's wyhash (2019) and its successors. It takes a tenth of the instructions of
//! SipHash, which matters more than its own time: the processor looks ahead a few hundred instructions only, and begins
//! to wait for the next lookup's memory while it still waits for this one's if it gets that far. Unlike SipHash it is no
//! cryptographic function, but the seed is random at every open, kept in memory, and nothing computed from it leaves the
//! process.

/// Hashes byte strings under a secret seed.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    seed: [u64; 2],
}

/// Digits of pi, so that a key of zeros meets no zeros under a seed of zeros.
const PI: [u64; 4] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

impl Hasher {
    /// A hash with this seed, which ought to be unpredictable.
    pub fn new(seed: [u64; 2]) -> Hasher {
        Hasher { seed: [seed[0] ^ PI[0], seed[1] ^ PI[1]] }
    }

    /// The hash of `bytes`; all of its bits are good.
    #[inline(always)]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let [state, secret] = self.seed;
        let len = bytes.len() as u64;
        match bytes.first_chunk::<16>() {
            // First, for keys of 16 bytes are frequent.
            Some(all) if bytes.len() == 16 => hash_words(halves(all), state, secret, len),
            None => hash_words(short(bytes), state, secret, len),
            Some(_) => self.hash_long(bytes),
        }
    }

    /// The hash of more than 16 bytes.
    #[inline(never)]
    fn hash_long(&self, bytes: &[u8]) -> u64 {
        let [mut state, secret] = self.seed;
        let (words, _) = bytes[..bytes.len() - 1].as_chunks::<8>();
        for pair in words.as_chunks::<2>().0 {
            state = fold(u64::from_le_bytes(pair[0]) ^ state, u64::from_le_bytes(pair[1]) ^ secret);
        }
        let last = bytes.last_chunk().expect("there are more than 16");
        hash_words(halves(last), state, secret, bytes.len() as u64)
    }
}

#[inline(always)]
fn hash_words((a, b): (u64, u64), state: u64, secret: u64, len: u64) -> u64 {
    fold(fold(a ^ state, b ^ secret) ^ PI[2], secret ^ PI[3] ^ len)
}

#[inline(always)]
fn halves(bytes: &[u8; 16]) -> (u64, u64) {
    let words = u128::from_le_bytes(*bytes);
    (words as u64, (words >> 64) as u64)
}

/// Fewer than 16 bytes in two words, which overlap.
#[inline]
fn short(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)));
    }
    (bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_byte_and_the_length_matter() {
        let hasher = Hasher::new([1, 2]);
        let mut seen = HashSet::new();
        for len in 0..100 {
            let mut bytes = vec![0; len];
            assert!(seen.insert(hasher.hash(&bytes)), "{len} zeros");
            for at in 0..len {
                bytes[at] = 1;
                assert!(seen.insert(hasher.hash(&bytes)), "byte {at} of {len}");
                bytes[at] = 0;
            }
        }
    }

    #[test]
    fn the_seed_matters() {
        for key in [&b"key"[..], b"sixteen bytes it", b"a key that is longer than sixteen bytes"] {
            let hashes = [[1, 2], [1, 3], [2, 2]].map(|seed| Hasher::new(seed).hash(key));
            assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 3);
        }
    }

    /// Shards, homes and tags are taken from different bits: in each of them a flipped bit of the key must flip about half
    /// of the bits.
    #[test]
    fn a_flipped_bit_of_the_key_flips_half_of_the_hash() {
        let hasher = Hasher::new([5, 7]);
        for len in [1, 3, 4, 7, 8, 15, 16, 17, 32, 33, 100] {
            let mut flips = [0u32; 64];
            let keys = 400u64;
            for n in 0..keys {
                let mut key: Vec<u8> = (0..len).map(|at| (n.wrapping_mul(0x9e37_79b9) >> (at % 5 * 7)) as u8).collect();
                let before = hasher.hash(&key);
                let bit = n as usize % (len * 8);
                key[bit / 8] ^= 1 << (bit % 8);
                let changed = before ^ hasher.hash(&key);
                flips.iter_mut().enumerate().for_each(|(at, count)| *count += (changed >> at) as u32 & 1);
            }
            for (at, &count) in flips.iter().enumerate() {
                assert!((120..280).contains(&count), "keys of {len} bytes: bit {at} flips {count} times in {keys}");
            }
        }
    }
}
