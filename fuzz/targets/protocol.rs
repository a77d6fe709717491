//! The parsers of the server: any bytes, in any pieces, are the same requests and the same refusals; what has to be kept
//! of them never grows beyond the limits; and what RESP takes it takes again.
//!
//! Input: a byte that chooses the limits, one from which the lengths of the pieces are drawn, then what a client sends.
#![no_main]

use kv_server::protocol::{Args, Limits, Parsed, Parser};
use kvwal_fuzz::bounded;
use kvwal_fuzz::counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// So small that an input of the fuzzer gets beyond them.
const SMALL: Limits = Limits { line: 24, args: 4, arg: 12, request: 40 };
/// What may have to be kept beyond the limits: of a line, the first byte of its end; of RESP, the end of an argument and
/// a header.
const BEYOND_LINE: usize = 1;
const BEYOND_REQUEST: usize = 2 + 32;

/// What a client gets to know of what it has sent.
#[derive(Debug, PartialEq)]
enum Event {
    Request(Vec<Vec<u8>>),
    Refused(String),
    Broken(String),
}

/// Gives the parser piece by piece what a client sends. Stops where the stream is broken.
fn events(bytes: &[u8], limits: &Limits, mut piece_len: impl FnMut() -> usize) -> Vec<Event> {
    let (mut parser, mut spans, mut unread, mut events) = (Parser::Undecided, Vec::new(), Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece;
        (piece, rest) = rest.split_at(piece_len().clamp(1, rest.len()));
        unread.extend_from_slice(piece);
        loop {
            let used = match parser.parse(&unread, &mut spans, limits) {
                Parsed::More => break,
                Parsed::Skipped(len) => len,
                Parsed::Request(len) => {
                    events.push(Event::Request(Args::new(&unread, &spans).iter().map(<[u8]>::to_vec).collect()));
                    check_request(&events, limits);
                    len
                }
                Parsed::Refused(len, refusal) => {
                    events.push(Event::Refused(refusal.reason.into()));
                    len
                }
                Parsed::Broken(refusal) => {
                    events.push(Event::Broken(refusal.reason.into()));
                    return events;
                }
            };
            assert!(used > 0, "the parser does not get on");
            unread.drain(..used);
        }
        let most = if parser.is_resp() { limits.request + BEYOND_REQUEST } else { limits.line + BEYOND_LINE };
        assert!(unread.len() <= most, "{} bytes are kept of {}", unread.len(), bytes.len());
    }
    events
}

fn check_request(events: &[Event], limits: &Limits) {
    let Some(Event::Request(args)) = events.last() else { return };
    assert!((1..=limits.args).contains(&args.len()), "{} arguments", args.len());
    assert!(args.iter().map(Vec::len).sum::<usize>() <= limits.request.max(limits.line));
}

/// What RESP has taken, sent again by somebody who writes it as it should be, is the same.
fn check_again(events: &[Event], limits: &Limits) {
    for event in events {
        let Event::Request(args) = event else { continue };
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        assert_eq!(self::events(&bytes, limits, || usize::MAX), [Event::Request(args.clone())]);
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let &[choice, mut state, ref bytes @ ..] = input else { return };
    let limits = [SMALL, Limits::BEFORE_AUTH, Limits::FULL][usize::from(choice % 3)];
    bounded(input, || {
        let at_once = events(bytes, &limits, || usize::MAX);
        assert_eq!(events(bytes, &limits, || 1), at_once, "byte by byte");
        let drawn = || {
            state = state.wrapping_mul(141).wrapping_add(89);
            usize::from(state >> 3)
        };
        assert_eq!(events(bytes, &limits, drawn), at_once, "in pieces");
        if bytes.first() == Some(&b'*') {
            check_again(&at_once, &limits);
        }
    });
});
