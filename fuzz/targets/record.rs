//! The record decoder: it agrees with the second reader about any bytes, and what it decodes is encoded to the same bytes.
//!
//! Input: a byte that says whether the checksum is put right, then the record and what may follow it.
#![no_main]

use kvwal::ErrorKind;
use kvwal::format::{self, Op};
use kvwal_fuzz::seal::{self, Level};
use kvwal_fuzz::support::reader::{self, NoRecord};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&level, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    seal::log(&mut bytes, Level::of(level));
    let (decoded, expected) = (format::decode(&bytes), reader::record(&bytes));
    let foreign = format::is_foreign(&bytes);
    let peeked = format::peek(&bytes);
    match decoded {
        Ok(record) => {
            let expected = expected.expect("the second reader sees no record");
            assert_eq!(
                (record.lsn, record.durable_lsn, record.more),
                (expected.lsn, expected.durable_lsn, expected.more)
            );
            assert_eq!((record.key, record.encoded_len()), (&expected.key[..], expected.len));
            assert_eq!((record.op != Op::Delete).then_some(record.value), expected.value.as_deref());
            assert_eq!((record.op == Op::PutExpiring).then_some(record.expires_at), expected.expires_at);
            let mut encoded = Vec::new();
            format::encode(&record, &mut encoded).expect("what was decoded can be encoded");
            assert_eq!(encoded, bytes[..record.encoded_len()]);
            let peeked = peeked.expect("a record looks like one");
            assert_eq!(
                (peeked.len, peeked.lsn, peeked.durable_lsn),
                (expected.len, expected.lsn, expected.durable_lsn)
            );
            assert!(!foreign);
        }
        Err(error) if error.kind() == ErrorKind::Version => assert_eq!(expected, Err(NoRecord::Newer)),
        Err(error) => assert_eq!(expected, Err(NoRecord::Invalid), "{error}"),
    }
});
