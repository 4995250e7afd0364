//! What is written to a way that may be slow, smaller where that is faster.

use std::io::{self, Write};
use std::time::Instant;

use super::super::protocol::Press;

/// Measures how long it takes, and leaves to [`Press`] what follows from that.
#[derive(Default)]
pub(super) struct Narrow(Press);

impl Narrow {
    /// Writes frames; how many bytes they were in the end.
    ///
    /// # Errors
    /// The writer's.
    pub(super) fn send(&mut self, frames: &[u8], to: &mut impl Write) -> io::Result<usize> {
        let mut begun = Instant::now();
        let is_pressed = self.0.is_worth(frames);
        let out = if is_pressed { self.0.press(frames) } else { frames };
        let count = out.len();
        let pressed = begun.elapsed();
        begun = Instant::now();
        to.write_all(out)?;
        to.flush()?;
        self.0.note_written(count, begun.elapsed());
        if is_pressed {
            self.0.note_pressed(frames.len(), count, pressed);
        }
        Ok(count)
    }
}
