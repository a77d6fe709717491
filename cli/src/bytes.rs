//! Keys and values are any bytes: how they are written as text, and read from it.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// In hexadecimal.
    Hex,
    /// In Base64, with padding.
    Base64,
}

impl Encoding {
    /// Reads bytes. Around what is encoded there may be white space, such as the line end of a file.
    pub fn decode(self, text: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Encoding::Plain => Ok(text.to_vec()),
            Encoding::Hex => from_hex(text.trim_ascii()),
            Encoding::Base64 => from_base64(text.trim_ascii()),
        }
    }

    /// Writes bytes.
    pub fn encode(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Encoding::Plain => bytes.into(),
            Encoding::Hex => to_hex(bytes).into_bytes().into(),
            Encoding::Base64 => to_base64(bytes).into_bytes().into(),
        }
    }

    /// Writes bytes so that they stay on one line.
    pub fn encode_on_line(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Plain => escape(bytes),
            Encoding::Hex => to_hex(bytes),
            Encoding::Base64 => to_base64(bytes),
        }
    }
}

pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn from_base64(text: impl AsRef<[u8]>) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|cause| format!("not Base64: {cause}"))
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |&byte: &u8| {
        let digit = char::from(byte).to_digit(16);
        digit.map(|digit| digit as u8).ok_or_else(|| format!("not hexadecimal: {:?}", char::from(byte)))
    };
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("not hexadecimal: a digit is missing".to_owned());
    }
    pairs.iter().map(|[high, low]| Ok(digit(high)? << 4 | digit(low)?)).collect()
}

/// Bytes as text on one line, that cannot do anything to a terminal: printable text as it is, `\t`, `\n`, `\r`, `\\`, and
/// everything else as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let escape_all = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                _ if char.is_control() || is_direction(char) => {
                    escape_all(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => text.push(char),
            }
        }
        escape_all(&mut text, chunk.invalid());
    }
    text
}

/// Whether a character makes what is beside it appear in another order.
fn is_direction(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of bytes as text on one line, and how much more there is.
pub fn excerpt(bytes: &[u8], most: usize) -> String {
    match bytes.len() <= most {
        true => escape(bytes),
        false => format!("{}… {} bytes more", escape(&bytes[..most]), bytes.len() - most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_printable_is_escaped() {
        assert_eq!(escape("a\\b\t\n\r\u{1b}[0mé\u{202e}".as_bytes()), "a\\\\b\\t\\n\\r\\x1b[0mé\\xe2\\x80\\xae");
        assert_eq!(escape(b"\xff\xc3"), "\\xff\\xc3");
        assert_eq!(excerpt(b"abcdef", 6), "abcdef");
        assert_eq!(excerpt(b"abcdef", 4), "abcd… 2 bytes more");
    }

    #[test]
    fn what_is_not_encoded_so_is_an_error() {
        for text in ["0", "0g", "+1", "é"] {
            assert!(Encoding::Hex.decode(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Encoding::Base64.decode(b"?").is_err());
        assert_eq!(Encoding::Hex.decode(b" 00fF\n").unwrap(), [0, 255]);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for encoding in [Encoding::Plain, Encoding::Hex, Encoding::Base64] {
                prop_assert_eq!(&encoding.decode(&encoding.encode(&bytes)).unwrap(), &bytes);
            }
        }
    }
}
