//! Words that whoever asks has to know: of a steered gateway's SIP servers, and of administrators over HTTP.

use std::path::Path;
use zeroize::Zeroizing;

/// The fewest octets of a token that is not guessed.
const SHORTEST: usize = 16;
/// The most that anybody can be asked to write into a header.
const LONGEST: usize = 512;

/// The word in a file: one line, without what is around it.
///
/// # Errors
/// The file cannot be read, or what is in it is no such word. The word is not in what is said of it.
pub fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let fail = |what: String| format!("{}: {what}", path.display());
    let octets = Zeroizing::new(std::fs::read(path).map_err(|e| fail(e.to_string()))?);
    let word = octets.trim_ascii();
    if !word.iter().all(u8::is_ascii_graphic) {
        return Err(fail("a token is one word of visible ASCII".to_owned()));
    }
    if !(SHORTEST..=LONGEST).contains(&word.len()) {
        return Err(fail(format!("a token has {SHORTEST} to {LONGEST} octets, not {}", word.len())));
    }
    Ok(Zeroizing::new(String::from_utf8_lossy(word).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn a_token_is_one_word() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            super::read(file.path()).map(drop)
        };
        assert_eq!(read("  0123456789abcdef\r\n"), Ok(()));
        for bad in [
            "",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789abcdef\n0123456789abcdef",
            &"x".repeat(513),
        ] {
            let said = read(bad).unwrap_err();
            assert!(bad.is_empty() || !said.contains(bad), "the word is in {said}");
        }
        assert!(super::read(Path::new("/no/such/file")).is_err());
    }
}
