//! The password.

use std::io;
use std::path::Path;

use subtle::{Choice, ConstantTimeEq};

/// Longest password.
const MAX_LEN: usize = 512;

/// A password, kept so that comparing takes the same time whatever is compared with it.
#[derive(Clone)]
pub struct Password {
    padded: [u8; MAX_LEN],
    len: u64,
}

impl Password {
    /// The password in the first line of a file.
    pub fn read(path: &Path) -> io::Result<Password> {
        let bytes = std::fs::read(path)?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let reason = match line.len() {
            0 => "the first line, which should be the password, is empty",
            1..=MAX_LEN => return Ok(Password::new(line)),
            _ => "the password is longer than 512 bytes",
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// A password of at most 512 bytes.
    fn new(password: &[u8]) -> Password {
        let (padded, len) = pad(password);
        Password { padded, len }
    }

    /// Whether this is the password. Takes as long for any guess of the same length.
    pub fn matches(&self, guess: &[u8]) -> bool {
        let (padded, len) = pad(&guess[..guess.len().min(MAX_LEN)]);
        let fits = Choice::from(u8::from(guess.len() <= MAX_LEN));
        bool::from(self.padded.ct_eq(&padded) & self.len.ct_eq(&len) & fits)
    }
}

fn pad(password: &[u8]) -> ([u8; MAX_LEN], u64) {
    let mut padded = [0; MAX_LEN];
    padded[..password.len()].copy_from_slice(password);
    (padded, password.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches() {
        let password = Password::new(b"open sesame");
        assert!(password.matches(b"open sesame"));
        for guess in [&b""[..], b"open sesam", b"open sesame ", b"open sesame\0", b"Open sesame"] {
            assert!(!password.matches(guess), "{}", guess.escape_ascii());
        }
        let longest = Password::new(&[b'a'; MAX_LEN]);
        assert!(longest.matches(&[b'a'; MAX_LEN]));
        assert!(!longest.matches(&[b'a'; MAX_LEN + 1]));
    }

    #[test]
    fn the_password_is_the_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for content in ["secret", "secret\n", "secret\r\nand more\n"] {
            std::fs::write(&path, content).unwrap();
            assert!(Password::read(&path).unwrap().matches(b"secret"));
        }
        for content in ["", "\nsecret\n", &"x".repeat(MAX_LEN + 1)] {
            std::fs::write(&path, content).unwrap();
            assert!(Password::read(&path).is_err());
        }
    }
}
