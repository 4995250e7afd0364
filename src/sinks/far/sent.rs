//! The bytes of files, on their way between machines.

use super::lost;
use super::wire::{Failure, FileEnd, GoesOn, MESSAGE_MAX, Reply, Wanted};
use crate::dataflow::model::value::Digest;
use crate::sinks::apply::{ApplyError, Bytes, Control, KnownDigests, Part, Sending};
use crate::ssh::link::Broken;
use crate::ssh::talk::{Incoming, Outgoing};

/// A file that nobody wants any more and that has more bytes left than this breaks its stream, instead of being sent in
/// vain.
const SKIP_MAX: u64 = 16 << 20;

/// Sends the bytes of a file and what they came to.
pub(super) fn send_word(
    out: &Outgoing,
    mut sending: Sending,
    part: Option<Part>,
    digests: &dyn KnownDigests,
    control: &Control,
) -> Result<(), Broken> {
    let (mut moved, mut failed) = (0, None);
    if let Some(part) = part {
        match sending.go_on(part, control) {
            Ok(counts) => moved = counts,
            Err(error) => failed = Some(error),
        }
        out.say::<GoesOn>(&moved)?;
    }
    let read = loop {
        if let Some(error) = failed.take() {
            break Err(error);
        }
        if control.is_cancelled() {
            break Err(ApplyError::Cancelled);
        }
        let left = usize::try_from(sending.left()).unwrap_or(usize::MAX);
        match out.bytes_of(left, |room| sending.read(room))? {
            Ok(0) => break Ok(()),
            Ok(read) => {
                moved += read as u64;
                control.set_moved(moved);
            }
            Err(error) => break Err(error),
        }
    };
    out.bytes(&[])?;
    let end: FileEnd = read.and_then(|()| sending.end(digests)).map_err(|e| Failure::of(&e));
    out.say(&end)
}

/// The bytes of a file as they come.
pub(in crate::sinks) struct SentFile<'a> {
    incoming: &'a mut Incoming,
    host: &'a str,
    broken: &'a mut Option<Broken>,
    /// Where it is said what is there of it, until that was said; `None` for one that comes at once.
    parts: Option<Parts<'a>>,
    came: u64,
    is_read: bool,
    has_ended: bool,
}

impl<'a> SentFile<'a> {
    pub(super) fn new(
        incoming: &'a mut Incoming,
        host: &'a str,
        broken: &'a mut Option<Broken>,
    ) -> Self {
        Self { incoming, host, broken, parts: None, came: 0, is_read: false, has_ended: false }
    }

    /// One that comes once it was said what is there of it.
    pub(super) fn after(self, parts: Parts<'a>) -> Self {
        Self { parts: Some(parts), ..self }
    }

    /// Says what is there of it, and hears from where on it comes.
    pub(super) fn ask(&mut self, part: Part) -> Result<GoesOn, ApplyError> {
        let asked = match self.parts.take() {
            Some(Parts::Ordered(out)) => out.say_now(&Reply::Part(part)),
            Some(Parts::Offered(out)) => out.say_now::<Wanted>(&Some(part)),
            None => return Ok(0),
        };
        let counts = asked.and_then(|()| self.incoming.expect::<GoesOn>(MESSAGE_MAX));
        self.came = *counts.as_ref().unwrap_or(&0);
        counts.map_err(|broken| self.lost(broken))
    }

    fn lost(&mut self, broken: Broken) -> ApplyError {
        lost_on(self.host, self.broken, broken)
    }

    /// Takes what is left of it, so that what follows can be heard; a lot of it breaks the stream off.
    pub(in crate::sinks) fn skip(mut self) {
        match self.parts.take() {
            Some(Parts::Offered(out)) => {
                *self.broken = self.broken.take().or(out.say_now::<Wanted>(&None).err());
                return;
            }
            // Whoever ordered it hears that all is over.
            Some(Parts::Ordered(_)) => return,
            None => {}
        }
        let mut skipped = 0;
        while !self.is_read && self.broken.is_none() {
            match self.incoming.bytes() {
                Ok([]) => self.is_read = true,
                Ok(piece) => skipped += piece.len() as u64,
                Err(broken) => *self.broken = Some(broken),
            }
            if skipped > SKIP_MAX {
                *self.broken = Some(Broken::Enough);
            }
        }
        if !self.has_ended && self.broken.is_none() {
            drop(Bytes::end(&mut self));
        }
    }

    /// Hands all of it on.
    pub(super) fn pipe(mut self, out: &Outgoing, control: &Control) -> Result<(), Broken> {
        while !self.is_read && self.broken.is_none() {
            let piece = match self.incoming.bytes() {
                Ok([]) => {
                    self.is_read = true;
                    break;
                }
                Ok(piece) => piece,
                Err(broken) => {
                    *self.broken = Some(broken);
                    break;
                }
            };
            self.came += piece.len() as u64;
            control.set_moved(self.came);
            if let Err(broken) = out.bytes(piece) {
                self.skip();
                return Err(broken);
            }
            if control.is_cancelled() {
                break;
            }
        }
        out.bytes(&[])?;
        let end: FileEnd = match control.is_cancelled() {
            true => Err(Failure::Cancelled),
            false => {
                self.is_read = true;
                self.hear_end().map_err(|error| Failure::of(&error))
            }
        };
        out.say(&end)?;
        self.skip();
        Ok(())
    }

    fn hear_end(&mut self) -> Result<Digest, ApplyError> {
        if self.broken.is_some() {
            return Err(ApplyError::Torn);
        }
        self.has_ended = true;
        match self.incoming.expect::<FileEnd>(MESSAGE_MAX) {
            Ok(end) => end.map_err(|failure| failure.error(self.host)),
            Err(broken) => Err(self.lost(broken)),
        }
    }
}

fn lost_on(host: &str, why: &mut Option<Broken>, broken: Broken) -> ApplyError {
    let error = lost(host, &broken);
    *why = Some(broken);
    error
}

/// Where it is said what is there of a large file.
pub(super) enum Parts<'a> {
    Ordered(&'a Outgoing),
    Offered(&'a Outgoing),
}

impl Bytes for SentFile<'_> {
    fn belied(&self, why: &str) -> ApplyError {
        ApplyError::There {
            host: self.host.to_owned(),
            what: "carry its bytes".to_owned(),
            errno: None,
            why: why.to_owned(),
        }
    }

    fn can_go_on(&self) -> bool {
        self.parts.is_some()
    }

    fn go_on(&mut self, part: Part) -> Result<u64, ApplyError> {
        self.ask(part)
    }

    fn next(&mut self) -> Result<&[u8], ApplyError> {
        if self.is_read {
            return Ok(&[]);
        }
        match self.incoming.bytes() {
            Ok(bytes) => {
                self.is_read = bytes.is_empty();
                Ok(bytes)
            }
            Err(broken) => Err(lost_on(self.host, self.broken, broken)),
        }
    }

    fn end(&mut self) -> Result<Option<Digest>, ApplyError> {
        match self.is_read {
            true => self.hear_end().map(Some),
            false => Err(ApplyError::Torn),
        }
    }
}
