//! Looking round on a host: what machine it is, and where something can be kept and run.
//!
//! Holds: what the answer says counts only on lines with this probe's own mark, so that nothing a login file prints is
//! taken for it; a folder is named only if a program was run from it.

/// A mark of this probe's own, from random bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self(format!("yeet-{random:016x}"))
    }
}

/// What a host is and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `uname -s`, in lower case.
    pub system: String,
    /// `uname -m`.
    pub machine: String,
    pub home: String,
    /// Where a program can be kept and run; without a `/` at the end.
    pub folder: Option<String>,
    /// Where that was tried in vain, and why.
    pub refused: Vec<(String, String)>,
    /// The builds that are in the folder already, by the names of their files.
    pub agents: Vec<String>,
}

/// The longest line of an answer, in bytes.
const LINE_MAX: usize = 4096;

/// The script, for the input of `/bin/sh -s`: no word of it is seen by the user's own shell.
///
/// It stops at the first folder that will do and leaves nothing in the others; those of `without` are not tried. It asks
/// for nothing but what POSIX and busybox have.
#[must_use]
pub fn script(mark: &Mark, without: &[String]) -> String {
    let mark = &mark.0;
    let without: String = without.iter().filter(|f| is_plain(f)).map(|f| format!("{f}|")).collect();
    format!(
        r#"m={mark}
without="|{without}"
LC_ALL=C PATH=$PATH:/usr/bin:/bin:/usr/sbin:/sbin
umask 077
say() {{ printf '%s %s\n' "$m" "$*"; }}
say system "$(uname -s)"
say machine "$(uname -m)"
say home "$HOME"
done=
try() {{
    [ -z "$done" ] || return
    case $without in *"|$1|"*) return ;; esac
    case $1 in
    *[!a-zA-Z0-9/._+@\ -]*) say refused odd "$1"; return ;;
    /*) ;;
    *) return ;;
    esac
    made=
    [ -d "$1" ] || made=1
    mkdir -p "$1" 2>/dev/null || {{ say refused unwritable "$1"; return; }}
    # In a folder that somebody else has laid there they could run what they like.
    if [ -h "$1" ] || [ ! -O "$1" ]; then say refused foreign "$1"; return; fi
    chmod 700 "$1" 2>/dev/null
    t=$1/.probe.$$
    printf '#!/bin/sh\nexit 7\n' 2>/dev/null >"$t"
    chmod 700 "$t" 2>/dev/null
    "$t" >/dev/null 2>&1
    r=$?
    if [ $r -eq 7 ]; then
        done=1
        say folder "$1"
        for a in "$1"/yeet-*; do [ -x "$a" ] && say agent "${{a##*/}}"; done
    elif [ -s "$t" ]; then say refused noexec "$1"
    else say refused unwritable "$1"
    fi
    rm -f "$t"
    [ $r -eq 7 ] || [ -z "$made" ] || rmdir "$1" 2>/dev/null
}}
try "${{XDG_CACHE_HOME:-$HOME/.cache}}/yeet/agent"
try "$HOME/.yeet-agent"
for d in /volume*/homes/"$(id -un)" /share/homes/"$(id -un)"; do
    [ -d "$d" ] && try "$d/.yeet-agent"
done
try "/var/tmp/yeet-agent-$(id -u)"
try "${{TMPDIR:-/tmp}}/yeet-agent-$(id -u)"
try "/dev/shm/yeet-agent-$(id -u)"
say end
"#
    )
}

/// What a host answered.
///
/// # Errors
/// The answer does not come to its end: what is missing.
pub fn read(mark: &Mark, answer: &[u8]) -> Result<Found, String> {
    let mut found = Found::default();
    let lines = answer.split(|byte| *byte == b'\n').filter(|line| line.len() <= LINE_MAX);
    let own = lines.filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
        // A login file may leave its last line without an end.
        Some(line.split_once(mark.0.as_str())?.1.trim_start())
    });
    for line in own {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "system" => found.system = rest.to_lowercase(),
            "machine" => rest.clone_into(&mut found.machine),
            "home" => rest.clone_into(&mut found.home),
            "folder" if is_plain(rest) => found.folder = Some(rest.to_owned()),
            "agent" => found.agents.push(rest.to_owned()),
            "refused" => {
                let Some((what, folder)) = rest.split_once(' ') else { continue };
                found.refused.push((folder.to_owned(), why(what)));
            }
            "end" => return Ok(found),
            _ => {}
        }
    }
    Err("the answer of its shell has no end".to_owned())
}

fn why(word: &str) -> String {
    match word {
        "unwritable" => "it cannot be written to",
        "foreign" => "it belongs to somebody else",
        "noexec" => "no program runs there",
        "odd" => "its name has characters that shells take for something",
        _ => "it cannot be used",
    }
    .to_owned()
}

/// Whether a path can stand between the quotes of every shell.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path.len() < 512
        && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@ ".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark::new(7)
    }

    #[test]
    fn only_lines_with_the_mark_count_and_only_up_to_the_end() {
        let text = "Last login: folder /evil\nyeet-0000000000000008 folder /evil\n\
                    Welcome yeet-0000000000000007 system Linux\r\nyeet-0000000000000007 machine x86_64\n\
                    yeet-0000000000000007 home /home/me\nyeet-0000000000000007 refused noexec /tmp/x\n\
                    yeet-0000000000000007 folder /home/me/.cache/yeet/agent\n\
                    yeet-0000000000000007 folder /home/me/it's\n\
                    yeet-0000000000000007 agent yeet-00\n\
                    yeet-0000000000000007 end\nyeet-0000000000000007 folder /late\n";
        let found = read(&mark(), text.as_bytes()).unwrap();
        assert_eq!((found.system.as_str(), found.machine.as_str()), ("linux", "x86_64"));
        assert_eq!(found.folder.as_deref(), Some("/home/me/.cache/yeet/agent"));
        assert_eq!(found.refused, [("/tmp/x".to_owned(), "no program runs there".to_owned())]);
        assert_eq!(found.agents, ["yeet-00"]);
    }

    #[test]
    fn an_answer_without_its_end_is_none() {
        let text = b"yeet-0000000000000007 system Linux\nyeet-0000000000000007 folder /x\n";
        assert!(read(&mark(), text).is_err());
        assert!(read(&mark(), b"This account is currently not available.\n").is_err());
    }

    #[test]
    fn what_is_not_text_or_too_long_is_passed_over() {
        let mut text = b"\xff\xfe yeet-0000000000000007 folder /x\n".to_vec();
        text.extend(vec![b'a'; 100_000]);
        text.extend(b"\nyeet-0000000000000007 end\n");
        assert_eq!(read(&mark(), &text).unwrap().folder, None);
    }
}
