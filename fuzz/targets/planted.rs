//! The fuzzer itself: a defect to which only coverage leads, byte by byte. Random bytes would not find it in a lifetime.
#![no_main]

use std::hint::black_box;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // The compiler must not make one comparison of them, for each is to be a branch of its own.
    let is = |at: usize, byte: u8| input.get(at).is_some_and(|&found| black_box(found) == byte);
    if is(0, b'k') && is(1, b'v') && is(2, b'w') && is(3, b'a') && is(4, b'l') {
        panic!("the planted defect");
    }
});
