use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Small enough for a test to go beyond.
const LIMITS: Limits = Limits { line: 40, args: 4, arg: 20, request: 60 };

/// What a client's bytes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    Request(Vec<Vec<u8>>),
    Refused(Refusal),
    Broken(Refusal),
}

/// Parses bytes that come in these pieces, as a connection does; also the greatest number of bytes that had to be kept.
fn parse(pieces: &[&[u8]]) -> (Vec<Meaning>, usize) {
    let (mut parser, mut spans, mut input) = (Parser::Undecided, Vec::new(), Vec::new());
    let (mut meanings, mut kept) = (Vec::new(), 0);
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let done = match parser.parse(&input, &mut spans, &LIMITS) {
                Parsed::More => break,
                Parsed::Skipped(len) => len,
                Parsed::Request(len) => {
                    let args = Args::new(&input, &spans);
                    meanings.push(Meaning::Request(args.iter().map(<[u8]>::to_vec).collect()));
                    len
                }
                Parsed::Refused(len, refusal) => {
                    meanings.push(Meaning::Refused(refusal));
                    len
                }
                Parsed::Broken(refusal) => {
                    meanings.push(Meaning::Broken(refusal));
                    return (meanings, kept);
                }
            };
            assert!(done > 0, "nothing but waiting may leave the input as it is");
            input.drain(..done);
        }
        kept = kept.max(input.len());
    }
    (meanings, kept)
}

fn request(words: &str) -> Meaning {
    Meaning::Request(words.split(' ').map(|word| word.as_bytes().to_vec()).collect())
}

fn refused(reason: &str) -> Meaning {
    Meaning::Refused(Refusal::err(reason.to_owned()))
}

fn broken(reason: &str) -> Meaning {
    Meaning::Broken(Refusal::err(format!("Protocol error: {reason}")))
}

#[test]
fn lines_are_words() {
    for (bytes, meanings) in [
        ("SET key value\n", vec![request("SET key value")]),
        ("SET key value\r\nGET key\n", vec![request("SET key value"), request("GET key")]),
        ("  SET \t key  value \r\n", vec![request("SET key value")]),
        ("\n\r\n \n", vec![refused("empty line"), refused("empty line"), refused("empty line")]),
        ("GET a\x01b\nGET b\n", vec![refused("control character in line"), request("GET b")]),
        ("GET a\rb\n", vec![refused("control character in line")]),
        ("GET é\n", vec![request("GET é")]),
        ("a b c d\na b c d e\n", vec![request("a b c d"), refused("too many arguments")]),
        ("GET key", vec![]),
    ] {
        assert_eq!(parse(&[bytes.as_bytes()]).0, meanings, "{bytes:?}");
    }
}

#[test]
fn a_line_that_is_too_long_is_one_error() {
    let longest = "x".repeat(LIMITS.line);
    for end in ["\n", "\r\n"] {
        assert_eq!(parse(&[format!("{longest}{end}").as_bytes()]).0, [request(&longest)]);
    }
    let too_long = refused("line too long: at most 40 bytes are taken");
    for more in [1, 2, 100, 1000] {
        let bytes = format!("{longest}{}\nGET key\n", "x".repeat(more));
        assert_eq!(parse(&[bytes.as_bytes()]).0, [too_long.clone(), request("GET key")]);
        let pieces: Vec<&[u8]> = bytes.as_bytes().chunks(7).collect();
        let (meanings, kept) = parse(&pieces);
        assert_eq!(meanings, [too_long.clone(), request("GET key")]);
        assert!(kept <= LIMITS.line + 7, "{kept} bytes were kept");
    }
}

#[test]
fn arrays_are_requests() {
    for (bytes, meanings) in [
        ("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", vec![request("GET key")]),
        ("*1\r\n$0\r\n\r\n", vec![request("")]),
        ("*1\r\n$2\r\n\r\n\r\n", vec![request("\r\n")]),
        ("*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", vec![request("PING")]),
        ("*2\r\n$3\r\nGET\r\n$3\r\nke", vec![]),
        ("*1\r\nPING\r\n", vec![broken("expected '$', got 'P'")]),
        ("*1\r\n$4\r\nPING\r\nPING\r\n", vec![request("PING"), broken("expected '*', got 'P'")]),
        ("*one\r\n", vec![broken("invalid multibulk length")]),
        ("*2147483648\r\n", vec![broken("invalid multibulk length")]),
        ("*00000000000000000000000000000000000000000000000000000001\r\n", vec![broken("invalid multibulk length")]),
        ("*1\r\n$-1\r\n", vec![broken("invalid bulk length")]),
        ("*1\r\n$01\r\nx\r\n", vec![broken("invalid bulk length")]),
        ("*1\r\n$9999999999999999\r\n", vec![broken("invalid bulk length")]),
        ("*1\r\n$4\r\nPINGxx", vec![broken("expected CRLF behind an argument")]),
        ("*1\n$4\nPING\n                           ", vec![broken("invalid multibulk length")]),
    ] {
        assert_eq!(parse(&[bytes.as_bytes()]).0, meanings, "{bytes:?}");
    }
}

#[test]
fn a_request_that_is_too_large_is_passed_over() {
    let arg = |len: usize| format!("${len}\r\n{}\r\n", "x".repeat(len));
    let ping = "*1\r\n$4\r\nPING\r\n";
    let long_arg = "argument too long: 1000 bytes, at most 20 are taken";
    for (bytes, reason) in [
        (format!("*2\r\n{}{}", arg(3), arg(1000)), long_arg),
        (format!("*3\r\n{}{}{}", arg(1000), arg(3), arg(1000)), long_arg),
        (format!("*5\r\n{}", arg(1).repeat(5)), "too many arguments: at most 4 are taken"),
        (format!("*4\r\n{}", arg(20).repeat(4)), "request too long: at most 60 bytes are taken"),
    ] {
        let bytes = bytes + ping;
        assert_eq!(parse(&[bytes.as_bytes()]).0, [refused(reason), request("PING")]);
        let pieces: Vec<&[u8]> = bytes.as_bytes().chunks(9).collect();
        let (meanings, kept) = parse(&pieces);
        assert_eq!(meanings, [refused(reason), request("PING")]);
        assert!(kept <= LIMITS.request + 9, "{kept} bytes were kept");
    }
    // What is passed over is checked all the same.
    let bytes = format!("*2\r\n{}$1000\r\n{}??", arg(3), "x".repeat(1000));
    assert_eq!(parse(&[bytes.as_bytes()]).0, [broken("expected CRLF behind an argument")]);
}

#[test]
fn a_request_can_be_refused_while_it_comes() {
    for (begin, end) in
        [(&b"*2\r\n$3\r\nGET\r\n$9\r\nabc"[..], &b"defghi\r\n*1\r\n$4\r\nPING\r\n"[..]), (b"GET a", b"bc\nPING\n")]
    {
        let (mut parser, mut spans) = (Parser::Undecided, Vec::new());
        assert_eq!(parser.parse(begin, &mut spans, &LIMITS), Parsed::More);
        parser.refuse(Refusal::err("no"));
        let (mut input, mut meanings) = (begin.to_vec(), Vec::new());
        for piece in [&b""[..], end] {
            input.extend_from_slice(piece);
            loop {
                let parsed = parser.parse(&input, &mut spans, &LIMITS);
                let (Parsed::Skipped(len) | Parsed::Request(len) | Parsed::Refused(len, _)) = parsed else {
                    assert_eq!(parsed, Parsed::More);
                    break;
                };
                if let Parsed::Request(_) = parsed {
                    meanings.push(request(str::from_utf8(Args::new(&input, &spans).get(0).unwrap()).unwrap()));
                } else if let Parsed::Refused(_, refusal) = parsed {
                    meanings.push(Meaning::Refused(refusal));
                }
                input.drain(..len);
            }
            assert!(input.is_empty(), "what is refused is not kept");
        }
        assert_eq!(meanings, [refused("no"), request("PING")]);
    }
}

#[test]
fn integers_are_those_of_redis() {
    for number in [0, 1, -1, 10, 123_456_789, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
        assert_eq!(integer(number.to_string().as_bytes()), Some(number));
    }
    for rubbish in [
        "",
        "-",
        "+1",
        "01",
        "-0",
        "-01",
        " 1",
        "1 ",
        "1a",
        "0x1",
        "1.0",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999",
    ] {
        assert_eq!(integer(rubbish.as_bytes()), None, "{rubbish:?}");
    }
}

/// Bytes that look like requests, more or less.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let arg = vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), b'a'..=b'z'], 0..30);
    let array = vec(arg, 0..6).prop_map(|args| {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(&arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    let line = "[ a-z]{0,60}(\r\n|\n)".prop_map(String::into_bytes);
    let rubbish = vec(prop_oneof![any::<u8>(), proptest::sample::select(&b"*$\r\n0123456789- "[..])], 0..30);
    let part = prop_oneof![4 => array, 4 => line, 1 => rubbish];
    vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_bytes_are_split(bytes in stream(), cuts in vec(any::<prop::sample::Index>(), 0..10)) {
        let (whole, _) = parse(&[&bytes]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&parse(&pieces).0, &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let (meanings, kept) = parse(&single);
        prop_assert_eq!(&meanings, &whole);
        prop_assert!(kept <= LIMITS.request + 32, "{} bytes were kept", kept);
    }
}
