//! The record decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = kvwal::format::decode(bytes);
});
