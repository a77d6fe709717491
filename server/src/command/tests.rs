use super::*;
use crate::protocol::Span;

#[test]
fn the_tables_are_sorted_and_their_commands_numbered() {
    for table in [RESP, text::COMMANDS] {
        assert!(table.is_sorted_by(|one, next| one.name < next.name), "found by binary search");
        assert!(table.iter().all(|spec| spec.name.len() <= LONGEST_NAME && spec.least >= 1 && spec.least <= spec.most));
    }
    assert!(all().enumerate().all(|(at, spec)| spec.id == at));
}

fn with_args<R>(words: &[&[u8]], run: impl FnOnce(Args<'_>) -> R) -> R {
    let bytes = words.concat();
    let mut end = 0;
    let spans: Vec<Span> = words
        .iter()
        .map(|word| {
            end += word.len();
            Span::new(end - word.len(), end)
        })
        .collect();
    run(Args::new(&bytes, &spans))
}

#[test]
fn commands_are_found_whatever_their_case() {
    for name in ["get", "GET", "gEt"] {
        with_args(&[name.as_bytes()], |args| assert_eq!(find(args, Protocol::Resp2).unwrap().name, "get"));
    }
    for name in [&b""[..], b"ge", b"gett", b"get ", &[b'a'; 100_000]] {
        with_args(&[name], |args| assert!(find(args, Protocol::Resp2).is_err()));
    }
    // Each protocol has its own.
    with_args(&[b"incr"], |args| assert!(find(args, Protocol::Text).is_err()));
    with_args(&[b"stats"], |args| assert!(find(args, Protocol::Resp3).is_err()));
}

#[test]
fn an_unknown_command_is_quoted_up_to_a_length() {
    let refusal = with_args(&[b"nosuch", b"a", b"b"], |args| find(args, Protocol::Resp2).unwrap_err());
    assert_eq!(refusal.reason, "unknown command 'nosuch', with args beginning with: 'a' 'b' ");
    let long = [b'x'; 10_000];
    let refusal = with_args(&[&long, &long, &long], |args| find(args, Protocol::Resp2).unwrap_err());
    assert!(refusal.reason.len() < 400, "{}", refusal.reason.len());
}

#[test]
fn keys_are_checked_before_a_command_runs() {
    let long = vec![b'k'; MAX_KEY + 1];
    let spec = |name: &str| RESP.iter().find(|spec| spec.name == name).unwrap();
    let check = |words: &[&[u8]]| {
        let name = str::from_utf8(words[0]).unwrap();
        with_args(words, |args| spec(name).check(args, Protocol::Resp2))
    };
    for words in [&[b"get", &long[..]][..], &[b"del", b"a", &long], &[b"mset", b"a", b"1", &long, b"2"]] {
        assert!(check(words).unwrap_err().reason.starts_with("key too long: 65536 bytes"));
    }
    for words in
        [&[b"get", &long[1..]][..], &[b"set", b"a", &long], &[b"mset", b"a", &long, b"b", &long], &[b"echo", &long]]
    {
        assert_eq!(check(words), Ok(()));
    }
}
