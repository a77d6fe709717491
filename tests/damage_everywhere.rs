//! A flipped bit in every byte (every bit in `make nightly`), every truncation, every blanked or filled piece and every
//! swap of two records, of each file of a store that a checkpoint left in one of four states. What has to come of it says
//! the second reader.

use crate::support::opening::{Evidence, check_open, disk_with};
use crate::support::reader::{self, Files};
use crate::support::{self, sample::stores};

type Pick = fn(&mut Files) -> &mut Option<Vec<u8>>;

const PICKS: [(&str, Pick); 3] = [
    ("wal.log", |files| &mut files.log),
    ("wal.next", |files| &mut files.next),
    ("checkpoint", |files| &mut files.checkpoint),
];

/// Damages each file of each store in each of the ways that `damages` makes of its bytes, and checks what comes of it.
fn check_all<I: Iterator<Item = (String, Vec<u8>)>>(damages: impl Fn(Vec<u8>) -> I) {
    for (state, intact) in stores() {
        for (name, pick) in PICKS {
            let Some(bytes) = pick(&mut intact.clone()).clone() else { continue };
            for (how, damaged) in damages(bytes) {
                let mut files = intact.clone();
                *pick(&mut files) = Some(damaged);
                check(&files, &|| format!("{state}, {name}: {how}"));
            }
        }
    }
}

fn check(files: &Files, context: &dyn Fn() -> String) {
    check_open(&disk_with(files), files, Evidence::Plain, context);
}

#[test]
fn nothing_damaged() {
    for (state, files) in stores() {
        check(&files, &|| state.to_owned());
        let mut files = files;
        files.next.get_or_insert_default().extend([0; 5000]);
        check(&files, &|| format!("{state}, with zeros ahead"));
    }
}

/// The check itself: when there are other files than it is told of, it objects.
#[test]
fn a_wrong_recovery_is_noticed() {
    let (_, files) = &stores()[0];
    let log = files.log.clone().unwrap();
    let (shorter, longer) = (log[..log.len() - 1].to_vec(), [&log[..], &[1]].concat());
    let lies = [
        Files { next: None, ..files.clone() },
        Files { log: Some(shorter), ..files.clone() },
        Files { log: Some(longer), next: None, ..files.clone() },
        Files { checkpoint: stores()[2].1.checkpoint.clone(), ..files.clone() },
    ];
    for (number, lie) in lies.iter().enumerate() {
        let checked = std::panic::catch_unwind(|| {
            check_open(&disk_with(files), lie, Evidence::Plain, &|| format!("lie {number}"));
        });
        assert!(checked.is_err(), "lie {number} was not noticed");
    }
}

#[test]
fn a_bit_flip_in_every_byte() {
    // Not always the same bit of a byte, and in time each one of every field. `damage` flips every bit of a log.
    let step = if support::is_thorough() { 1 } else { 7 };
    check_all(|bytes| {
        (0..bytes.len() * 8).step_by(step).map(move |bit| {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            (format!("bit {bit}"), damaged)
        })
    });
}

#[test]
fn two_files_damaged_at_once() {
    // Steps that fall on each field of a record in turn.
    let places = |bytes: &[u8]| (3..bytes.len()).step_by(17).collect::<Vec<_>>();
    for (state, intact) in stores() {
        for (first_name, first) in PICKS {
            for (second_name, second) in PICKS.into_iter().filter(|(name, _)| *name > first_name) {
                let both = (first(&mut intact.clone()).clone(), second(&mut intact.clone()).clone());
                let (Some(first_bytes), Some(second_bytes)) = both else { continue };
                for at in places(&first_bytes) {
                    for also_at in places(&second_bytes) {
                        let mut files = intact.clone();
                        let flip = |file: &mut Option<Vec<u8>>, at: usize| file.as_mut().unwrap()[at] ^= 1;
                        flip(first(&mut files), at);
                        flip(second(&mut files), also_at);
                        check(&files, &|| format!("{state}: byte {at} of {first_name}, {also_at} of {second_name}"));
                    }
                }
            }
        }
    }
}

#[test]
fn every_truncation() {
    check_all(|bytes| (0..bytes.len()).map(move |len| (format!("cut to {len} bytes"), bytes[..len].to_vec())));
}

#[test]
fn every_blanked_or_filled_piece() {
    check_all(|bytes| {
        let pieces = [64, 512].into_iter().flat_map(move |len| (0..512usize).map(move |at| (at, len)));
        pieces.flat_map(move |(at, len)| {
            let end = (at + len).min(bytes.len());
            let fill = |with: u8| {
                let mut damaged = bytes.clone();
                damaged.get_mut(at..end)?.fill(with);
                Some((format!("{at}..{end} filled with {with}"), damaged))
            };
            [fill(0), fill(0xff)].into_iter().flatten()
        })
    });
}

#[test]
fn every_two_records_swapped_and_each_one_doubled_or_lost() {
    for (state, intact) in stores() {
        let cut = |bytes: &[u8]| {
            let (mut records, mut rest) = (Vec::new(), bytes);
            while !rest.is_empty() {
                let (record, behind) = rest.split_at(reader::record(rest).unwrap().len);
                records.push(record.to_vec());
                rest = behind;
            }
            records
        };
        let records = cut(intact.log.as_ref().unwrap());
        let split = records.len();
        let records = [records, cut(intact.next.as_deref().unwrap_or_default())].concat();
        let try_order = |order: &[usize], split: usize, how: &str| {
            let join = |order: &[usize]| order.iter().flat_map(|&at| records[at].clone()).collect::<Vec<u8>>();
            let (log, next) = (join(&order[..split]), intact.next.as_ref().map(|_| join(&order[split..])));
            check(&Files { log: Some(log), next, ..intact.clone() }, &|| format!("{state}: {how}"));
        };
        let order: Vec<usize> = (0..records.len()).collect();
        for first in 0..records.len() {
            for second in 0..first {
                let mut swapped = order.clone();
                swapped.swap(first, second);
                try_order(&swapped, split, &format!("records {second} and {first} swapped"));
            }
            let mut doubled = order.clone();
            doubled.insert(first, first);
            try_order(&doubled, split + usize::from(first < split), &format!("record {first} doubled"));
            let mut lost = order.clone();
            lost.remove(first);
            try_order(&lost, split - usize::from(first < split), &format!("record {first} lost"));
        }
    }
}
