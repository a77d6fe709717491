//! The example in `docs/format.md` is what the library writes.

use kvwal::format::{Op, Record, encode};

#[test]
fn the_hex_dump_is_right() {
    let document = include_str!("../docs/format.md");
    let dump = document.split("```").nth(1).expect("the page has a hex dump");
    let is_byte = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
    let documented: Vec<u8> = dump
        .lines()
        .flat_map(|line| line.split_whitespace().skip(1).take_while(is_byte).map(|word| u8::from_str_radix(word, 16)))
        .collect::<Result<_, _>>()
        .unwrap();

    let record = Record { lsn: 1, durable_lsn: 0, op: Op::Put, more: false, expires_at: 0, key: b"foo", value: b"bar" };
    let mut encoded = Vec::new();
    encode(&record, &mut encoded).unwrap();
    assert_eq!(documented, encoded);
}
