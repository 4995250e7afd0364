//! What only a person can say: a passphrase, a password, whether a new host is the right one.

/// Something secret, wiped when it is dropped.
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Somebody to ask; answers block.
pub trait Ask: Send + Sync {
    /// Whether there is anybody.
    fn is_there(&self) -> bool;

    /// `None`: nobody is there.
    fn yes(&self, question: &str) -> Option<bool>;

    /// What is typed after a prompt, shown meanwhile or not; `None`: nobody is there, or nothing more is said.
    fn answer(&self, prompt: &str, is_shown: bool) -> Option<Secret>;

    /// What a server or yeet has to tell before it asks.
    fn tell(&self, text: &str);
}

/// Nobody: the daemon never asks out of the blue.
pub struct Nobody;

impl Ask for Nobody {
    fn is_there(&self) -> bool {
        false
    }

    fn yes(&self, _: &str) -> Option<bool> {
        None
    }

    fn answer(&self, _: &str, _: bool) -> Option<Secret> {
        None
    }

    fn tell(&self, _: &str) {}
}

/// A server's text without what could move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
}
