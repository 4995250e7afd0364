//! A person at the terminal, who is asked what only they can say.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::ssh::ask::{Ask, Secret};

/// Asks on stderr and reads from the terminal that is the standard input; where that is none, nobody is there.
pub(crate) struct Terminal {
    /// Two connections made at the same time ask one after the other.
    turn: Mutex<()>,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self { turn: Mutex::new(()) }
    }

    fn ask(&self, prompt: &str, is_shown: bool) -> Option<String> {
        let _turn = self.turn.lock().ok()?;
        if !io::stdin().is_terminal() {
            return None;
        }
        // Before the prompt: whoever sees that may type at once.
        let hidden = if is_shown { None } else { Some(Hidden::new()?) };
        let mut err = io::stderr();
        write!(err, "{prompt}").and_then(|()| err.flush()).ok()?;
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        if hidden.is_some() {
            // The end of the line was not shown either.
            drop(writeln!(err));
        }
        let is_whole = read.is_ok_and(|bytes| bytes > 0);
        is_whole.then(|| line.trim_end_matches(['\n', '\r']).to_owned())
    }
}

impl Ask for Terminal {
    fn is_there(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn yes(&self, question: &str) -> Option<bool> {
        loop {
            let answer = self.ask(&format!("{question} [yes/no] "), true)?;
            match answer.trim().to_lowercase().as_str() {
                "yes" | "y" => return Some(true),
                "no" | "n" | "" => return Some(false),
                _ => self.tell("Please say yes or no."),
            }
        }
    }

    fn answer(&self, prompt: &str, is_shown: bool) -> Option<Secret> {
        self.ask(prompt, is_shown).map(Secret::new)
    }

    fn tell(&self, text: &str) {
        drop(writeln!(io::stderr(), "{}", text.trim_end()));
    }
}

/// While this lives, what is typed is not shown.
struct Hidden(Termios);

impl Hidden {
    /// `None` if the terminal cannot be told: a secret is not typed in the open.
    fn new() -> Option<Self> {
        let before = tcgetattr(io::stdin().as_fd()).ok()?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &now).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.0).unwrap_or_default();
    }
}
