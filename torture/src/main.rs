//! t
use kvwal::vfs::sim::SimDisk;
use kvwal::*;
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let options = Options { checkpoint_wal_bytes: Size::Never, preallocate: Size::Bytes(1000), ..Options::default() };
    let disk = SimDisk::new(1);
    let store = Store::open_on(Arc::new(disk.clone()), "/store", &options).unwrap();
    for i in 0..30u8 {
        store.set(&[i], &[i; 200]).unwrap();
    }
    store.checkpoint().unwrap();
    for i in 0..30u8 {
        store.set(&[i], &[i; 200]).unwrap();
    }
    std::mem::forget(store);
    disk.kill();
    let n = 2000;
    let mut parts = [0f64; 7];
    for seed in 0..n {
        let mut t = Instant::now();
        let mut lap = |i: usize| {
            parts[i] += t.elapsed().as_secs_f64() * 1e6;
            t = Instant::now();
        };
        let d = disk.fork();
        lap(0);
        d.crash(seed);
        lap(1);
        let store = Store::open_on(Arc::new(d.clone()), "/store", &options).unwrap();
        lap(2);
        store.scan(b"", |_, _| true).unwrap();
        lap(3);
        store.check_invariants();
        lap(4);
        store.set(b"x", b"y").unwrap();
        lap(5);
        store.close().unwrap();
        lap(6);
    }
    for (name, p) in ["fork", "crash", "open", "scan", "invariants", "set", "close"].iter().zip(parts) {
        println!("{name} {:.1} us", p / n as f64);
    }
}
