//! What is written to a way that may be slow, smaller where that is faster.
//!
//! Holds: time is what the clock says that it was made with; what follows from it is [`Press`]'s alone.

use std::io::{self, Write};
use std::time::Instant;

use super::super::protocol::Press;

pub(super) struct Narrow<C = fn() -> Instant> {
    press: Press,
    clock: C,
}

impl<C: Fn() -> Instant> Narrow<C> {
    pub(super) fn new(clock: C) -> Self {
        Self { press: Press::default(), clock }
    }

    /// Writes frames; how many bytes they were in the end.
    ///
    /// # Errors
    /// The writer's.
    pub(super) fn send(&mut self, frames: &[u8], to: &mut impl Write) -> io::Result<usize> {
        let mut begun = (self.clock)();
        let is_pressed = self.press.is_worth(frames);
        let out = if is_pressed { self.press.press(frames) } else { frames };
        let count = out.len();
        let written = if is_pressed { (self.clock)() } else { begun };
        let pressing = written.duration_since(begun);
        begun = written;
        to.write_all(out)?;
        to.flush()?;
        let writing = (self.clock)().duration_since(begun);
        if is_pressed {
            self.press.note_pressed(frames.len(), count, pressing);
        }
        self.press.note_written(count, writing);
        Ok(count)
    }
}
