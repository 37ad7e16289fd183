//! What is shown of a file where something is wrong with it: the lines as they are, but for what looks like a secret. A
//! configuration has none, only names of files that do; but the wrong file may be named, and a key be written where its file's name
//! belongs.

/// Words in the name of a setting whose value may be a secret.
const SECRET: [&str; 6] = ["password", "secret", "token", "psk", "key", "passphrase"];

/// What is said of a file that is none of ours.
pub const NO_CONFIGURATION: &str = "this is no configuration: there is no table in it";

/// Whether it is a configuration at all, however wrong: it has a table's name in a line of its own.
#[must_use]
pub fn is_configuration(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with('['))
}

/// The text as it is shown, octet for octet as long.
#[must_use]
pub fn shown(text: &str) -> String {
    let whole = is_configuration(text);
    text.split_inclusive('\n').map(|line| if whole { line_of(line) } else { stars(line) }).collect()
}

/// What was said of the text, with its lines as they are shown.
#[must_use]
pub fn say_of(text: &str, said: &str) -> String {
    if !is_configuration(text) {
        return NO_CONFIGURATION.to_owned();
    }
    let hidden = shown(text);
    let lines = text.lines().zip(hidden.lines()).filter(|(line, shown)| line != shown);
    lines.fold(said.to_owned(), |said, (line, shown)| said.replace(line, shown))
}

/// A line without values that are no names of files behind names of secrets.
fn line_of(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    // Text before a value, the value, text before the next one, and so on.
    for (n, part) in line.split_inclusive(['"', '\'']).enumerate() {
        let before = out.trim_end_matches(['"', '\'']).trim_end();
        let name = before.strip_suffix('=').map(|name| {
            let name = name.trim_end();
            name.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
                .next()
                .unwrap_or_default()
        });
        let value = part.trim_end_matches(['"', '\'', '\n']);
        let is_file = value.contains(['/', '.']) || value.len() < 8;
        let is_secret =
            name.is_some_and(|name| SECRET.iter().any(|word| name.to_ascii_lowercase().contains(word)));
        match n % 2 == 1 && is_secret && !is_file {
            true => out.push_str(&stars(part)),
            false => out.push_str(part),
        }
    }
    out
}

fn stars(text: &str) -> String {
    let hide = |c: char| match c {
        '"' | '\'' | '\n' | '\r' | '=' | ' ' => c.to_string(),
        other => "*".repeat(other.len_utf8()),
    };
    text.chars().map(hide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_shown_without_what_should_not_be_in_it() {
        let text = "[admin]\ntoken = \"0123456789abcdef\"\ntls = { certificate = \"a.pem\", key = \"a.key\", psk = 'größer als acht' }\n\
                    token-file = \"token\"\nname = \"0123456789abcdef\" # key = \"x\"\n";
        let shown = shown(text);
        assert_eq!(shown.len(), text.len(), "places stay what they are");
        let expected = "[admin]\ntoken = \"****************\"\ntls = { certificate = \"a.pem\", key = \"a.key\", psk = '******** *** ****' }\n\
                        token-file = \"token\"\nname = \"0123456789abcdef\" # key = \"x\"\n";
        assert_eq!(shown, expected);
        assert_eq!(say_of(text, "2 | token = \"0123456789abcdef\"\n"), "2 | token = \"****************\"\n");
    }

    #[test]
    fn what_is_no_configuration_is_not_shown() {
        for text in
            ["agw = \"00112233445566778899\"\n", "00112233445566778899aabb", "-----BEGIN KEY-----\nMIGH\n"]
        {
            let shown = shown(text);
            assert_eq!(shown.len(), text.len());
            assert!(!shown.contains("0011") && !shown.contains("MIGH"), "{shown}");
            assert_eq!(say_of(text, text), NO_CONFIGURATION);
        }
    }
}
