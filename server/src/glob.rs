//! Patterns of keys, as Redis has them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that is meant as it is.

/// Whether the whole of `text` matches.
///
/// Only the last `*` is ever tried again, at the next place: an earlier one could not match more than this one can. So the
/// time is at most that of pattern times text.
pub fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut again = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            again = Some((rest, text));
            continue;
        }
        let matched = match text {
            [] if pattern.is_empty() => return true,
            [] => return false,
            [first, ..] => one(pattern, *first),
        };
        match (matched, &mut again) {
            (Some(rest), _) => (pattern, text) = (rest, &text[1..]),
            (None, Some((after_star, from))) => {
                *from = &from[1..];
                (pattern, text) = (after_star, from);
            }
            (None, None) => return false,
        }
    }
}

/// Matches one byte with the first element of a pattern, which is no star; the rest of the pattern if it does.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => {
            let (is_in, rest) = in_class(class, byte);
            is_in.then_some(rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// Whether a byte is in the class whose `[` has been read, and what comes behind its `]`. A class without an end goes on to
/// the end of the pattern.
fn in_class(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (is_negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut is_in = false;
    let rest = loop {
        class = match class {
            [] => break class,
            [b']', rest @ ..] => break rest,
            [b'\\', literal, rest @ ..] => {
                is_in |= *literal == byte;
                rest
            }
            [from, b'-', to, rest @ ..] => {
                is_in |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                is_in |= *literal == byte;
                rest
            }
        };
    };
    (is_in != is_negated, rest)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_what_they_match_in_redis() {
        for (pattern, matching, others) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "abc"], &[]),
            ("a*c", &["ac", "abc", "abbcc"], &["a", "ab", "xac"]),
            ("*a*b", &["ab", "xaxb", "aabab"], &["ba", "abx"]),
            ("h?llo", &["hello", "hallo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "h[llo"]),
            ("h[^e]llo", &["hallo", "hbllo"], &["hello", "hllo"]),
            ("h[a-c]llo", &["hallo", "hcllo"], &["hdllo", "h-llo"]),
            ("h[c-a]llo", &["hallo", "hbllo"], &["hdllo"]),
            ("[\\]]", &["]"], &["\\"]),
            ("\\*", &["*"], &["a", "\\*", ""]),
            ("a\\", &["a\\"], &["a"]),
            ("[ab", &["a", "b"], &["c", "[ab"]),
            ("user:*:name", &["user:1:name", "user::name"], &["user:1:nam", "user:name"]),
        ] {
            for text in matching {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} does not match {text}");
            }
            for text in others {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} matches {text}");
            }
        }
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let began = std::time::Instant::now();
        let (pattern, text) = ("*a".repeat(100) + "b", "a".repeat(10_000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
        assert!(began.elapsed().as_secs() < 5);
    }
}
