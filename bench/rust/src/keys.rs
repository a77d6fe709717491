//! Keys, values, and the orders in which keys are used: the same as kvbench's, bit for bit.

const ZIPF_EXPONENT: f64 = 0.99;
const POOL_SPREAD_BITS: u32 = 20;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub const KEY_LEN: usize = 16;

pub type Key = [u8; KEY_LEN];

#[derive(Clone, Copy, PartialEq)]
pub enum Distribution {
    Uniform,
    Zipf,
}

pub fn splitmix64(state: u64) -> u64 {
    let mut z = state.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A generator that is quick and good enough for this; the state is its own seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(splitmix64(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        splitmix64(self.0)
    }
}

/// Key number i of the run with this seed.
fn key_number(i: u64, seed: u64) -> Key {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = splitmix64(i.wrapping_add(seed));
    std::array::from_fn(|at| DIGITS[(bits >> (60 - 4 * at)) as usize & 15])
}

/// Keys 0 to count-1, in this order.
pub fn in_order(count: usize, seed: u64) -> Vec<Key> {
    (0..count as u64).map(|i| key_number(i, seed)).collect()
}

/// So many draws out of keys 0 to count-1, in the order of their use.
pub fn drawn(draws: usize, count: usize, distribution: Distribution, seed: u64, draw_seed: u64) -> Vec<Key> {
    let zipf = (distribution == Distribution::Zipf).then(|| Zipf::new(count));
    let mut random = Random::new(draw_seed);
    let draw = |_| {
        let mut bits = random.next();
        if let Some(zipf) = &zipf {
            // Ranks are scattered, or the popular keys would lie side by side in a store that keeps the order of loading.
            bits = splitmix64(zipf.rank((bits >> 11) as f64 * 2f64.powi(-53)));
        }
        key_number(bits % count as u64, seed)
    };
    (0..draws).map(draw).collect()
}

/// Quickly generating billion-record synthetic databases, Gray et al., SIGMOD 1994, as YCSB does it.
struct Zipf {
    count: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
    second: f64,
}

impl Zipf {
    fn new(count: usize) -> Self {
        let zeta: f64 = (1..=count).map(|i| (1.0 / i as f64).powf(ZIPF_EXPONENT)).sum();
        let second = 1.0 + 0.5f64.powf(ZIPF_EXPONENT);
        let count = count as f64;
        Self {
            count,
            alpha: 1.0 / (1.0 - ZIPF_EXPONENT),
            zeta,
            eta: (1.0 - (2.0 / count).powf(1.0 - ZIPF_EXPONENT)) / (1.0 - second / zeta),
            second,
        }
    }

    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1;
        }
        let rank = self.count * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        rank.min(self.count - 1.0) as u64
    }
}

/// Random bytes, which values are pieces of.
pub struct ValuePool {
    bytes: Vec<u8>,
    value_len: usize,
}

impl ValuePool {
    pub fn new(value_len: usize, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7661_6c75_6553);
        let len = value_len + (1 << POOL_SPREAD_BITS);
        Self { bytes: (0..len).map(|_| random.next() as u8).collect(), value_len }
    }

    /// The value of this key: which piece of the pool it is depends on the key.
    pub fn value_of(&self, key: &Key) -> &[u8] {
        let (_, end) = key.split_at(KEY_LEN - size_of::<u64>());
        let bits = end.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
        let start = (bits.wrapping_mul(GOLDEN) >> (64 - POOL_SPREAD_BITS)) as usize;
        &self.bytes[start..start + self.value_len]
    }
}
