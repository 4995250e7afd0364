//! The lines of an `ssh_config`, one keyword and its arguments each.

use std::path::Path;
use std::sync::Arc;

use crate::ssh::place::Place;

/// One line of a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub place: Place,
    /// In lower case.
    pub keyword: String,
    /// Without quotes.
    pub arguments: Vec<String>,
    /// What follows the keyword, as it was written: commands are not split into arguments.
    pub rest: String,
}

/// A config with its includes in the place of their lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Line(Line),
    /// A file begins that another one includes; what it says holds only where the line that includes it does.
    Enter,
    /// It ends, and with it all blocks that it began.
    Leave,
}

/// The lines of one file; a line that has no end to its quotes is an error of [`super::Note`].
pub fn read(file: &Arc<Path>, text: &str) -> Vec<Result<Line, Place>> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| read_line(file, index + 1, line)).collect()
}

fn read_line(file: &Arc<Path>, line: usize, text: &str) -> Option<Result<Line, Place>> {
    let text = text.trim_matches(|c: char| c.is_whitespace());
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let place = Place { file: file.clone(), line };
    let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
    let (keyword, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    // `"Host" x` is allowed as well.
    let keyword = keyword.trim_matches('"').to_ascii_lowercase();
    Some(match split(rest) {
        Some(arguments) => Ok(Line { place, keyword, arguments, rest: rest.to_owned() }),
        None => Err(place),
    })
}

/// Words, quoted or not; `None` if a quote has no end. A `#` where a word would begin ends the line.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none_or(|c| *c == '#') {
            return Some(words);
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            let escaped = chars.peek().copied().filter(|next| {
                c == '\\' && (matches!(next, '"' | '\'' | '\\') || quote.is_none() && *next == ' ')
            });
            match (escaped, quote) {
                (Some(next), _) => {
                    word.push(next);
                    chars.next();
                }
                (None, Some(open)) if c == open => quote = None,
                (None, None) if matches!(c, '"' | '\'') => quote = Some(c),
                (None, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<(String, Vec<String>)> {
        let line = read_line(&Path::new("f").into(), 1, text)?.ok()?;
        Some((line.keyword, line.arguments))
    }

    #[test]
    fn a_keyword_and_its_arguments_may_be_written_in_every_way_that_openssh_reads() {
        for (text, keyword, arguments) in [
            ("Host a b", "host", vec!["a", "b"]),
            ("\tPort=22 ", "port", vec!["22"]),
            ("port = 22", "port", vec!["22"]),
            ("User \"a b\" # who", "user", vec!["a b"]),
            ("IdentityFile '~/my key'", "identityfile", vec!["~/my key"]),
            (r#"IdentityFile "a\"b\\c""#, "identityfile", vec![r#"a"b\c"#]),
            (r"IdentityFile a\ b", "identityfile", vec!["a b"]),
            ("HostName a#b", "hostname", vec!["a#b"]),
            ("Compression", "compression", vec![]),
        ] {
            let arguments = arguments.into_iter().map(str::to_owned).collect();
            assert_eq!(words(text), Some((keyword.to_owned(), arguments)), "{text}");
        }
        for nothing in ["", "   ", "# Host x", "  #"] {
            assert!(read_line(&Path::new("f").into(), 1, nothing).is_none(), "{nothing:?}");
        }
    }

    #[test]
    fn a_quote_without_an_end_is_told_with_its_line() {
        let lines = read(&Path::new("f").into(), "Host a\n  User \"b\n");
        assert_eq!(lines[1].as_ref().unwrap_err().to_string(), "f:2");
    }
}
