//! What an agent is asked for beside batches of jobs: what [`desk`] does, and what became of operations that were under way
//! when a connection was lost.

use std::io::{self, Read};
use std::sync::Arc;

use super::Far;
use super::wire::{
    ANSWER_MAX, Announced, Errand, Failure, JOBS_MAX, Purged, ReadOut, Remember, Remembered,
    Settled,
};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Content, Digest};
use crate::sinks::apply::ApplyError;
use crate::sinks::desk::{self, Found, Of, Placed};
use crate::sinks::journal::Change;
use crate::sinks::recover::{Around, Ended, settle};
use crate::sinks::stage::OpId;
use crate::sinks::transfer::Site;
use crate::ssh::link::Broken;
use crate::ssh::protocol::Request;
use crate::ssh::talk::{Incoming, Outgoing, PIECE_MAX};
use crate::sys;

impl Remembered {
    fn of(change: Change) -> Option<Self> {
        Some(match change {
            Change::Agreed { leaf, value, .. } => Self::Agreed { leaf, value },
            Change::Kept { op, kept } => Self::Kept { op, kept },
            Change::Purged { op, .. } => Self::Purged { op },
            Change::Log(line) => Self::Log(line),
            Change::Past { .. }
            | Change::NoPast { .. }
            | Change::Yields { .. }
            | Change::Intent { .. }
            | Change::IntentDone { .. }
            | Change::Meta { .. }
            | Change::Reached { .. }
            | Change::DropReplica(_)
            | Change::Disagree(_)
            | Change::DropPast => return None,
        })
    }

    /// As a change, if it is about this operation.
    fn change(self, about: &Announced) -> Option<Change> {
        let intent = &about.intent;
        let is_own = |op: u64| op == about.op || op == about.spare;
        let is_here = |path: &RelPath, at: Replica| *path == intent.path && at == intent.replica;
        match self {
            Self::Agreed { leaf, value } => {
                let path = intent.path.clone();
                let may = leaf == intent.leaf || (intent.replica.is_source() && value.is_none());
                may.then_some(Change::Agreed { leaf, path, value })
            }
            Self::Kept { op, kept } => {
                let may = is_own(op) && is_here(&kept.path, kept.replica);
                may.then_some(Change::Kept { op, kept })
            }
            Self::Purged { op } => {
                is_own(op).then(|| Change::Purged { op, path: intent.path.clone() })
            }
            Self::Log(line) => is_here(&line.path, line.replica).then_some(Change::Log(line)),
        }
    }
}

/// Bytes that come in pieces.
struct Pieces {
    incoming: Incoming,
    rest: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl Pieces {
    fn new(incoming: Incoming) -> Self {
        Self { incoming, rest: Vec::new(), at: 0, is_over: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.rest.len() && !self.is_over {
            let piece = self.incoming.bytes().map_err(io::Error::other)?;
            self.rest.clear();
            self.rest.extend(piece);
            self.at = 0;
            self.is_over = self.rest.is_empty();
        }
        let take = buffer.len().min(self.rest.len() - self.at);
        buffer[..take].copy_from_slice(&self.rest[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

fn send(outgoing: &Outgoing, bytes: &mut dyn Read) -> io::Result<()> {
    loop {
        let read = outgoing.bytes_of(PIECE_MAX, |room| bytes.read(room));
        match read.map_err(io::Error::other)? {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) => return outgoing.bytes(&[]).map_err(io::Error::other),
            read => drop(read?),
        }
    }
}

impl Far {
    fn errand(&self, errand: &Errand) -> io::Result<(Incoming, Outgoing)> {
        let (incoming, outgoing) =
            self.ask_bulk(0, |replica| Request::Errand { replica }).map_err(io::Error::other)?;
        outgoing.say(errand).map_err(io::Error::other)?;
        Ok((incoming, outgoing))
    }

    /// What it answers to something that needs no more words.
    fn answer<T: serde::de::DeserializeOwned>(&self, errand: &Errand) -> io::Result<T> {
        let (mut incoming, outgoing) = self.errand(errand)?;
        outgoing.end().map_err(io::Error::other)?;
        self.hear(&mut incoming)
    }

    fn hear<T: serde::de::DeserializeOwned>(&self, incoming: &mut Incoming) -> io::Result<T> {
        let answer = incoming.expect::<Result<T, Failure>>(ANSWER_MAX).map_err(io::Error::other)?;
        answer.map_err(|failure| {
            let error = failure.error(&self.host);
            error.errno().map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
        })
    }

    /// As [`desk::read`].
    pub(in crate::sinks) fn read(&self, of: &Of) -> io::Result<Found<Box<dyn Read + Send>>> {
        let (mut incoming, outgoing) = self.errand(&Errand::Read(of.clone()))?;
        outgoing.end().map_err(io::Error::other)?;
        Ok(match self.hear::<ReadOut>(&mut incoming)? {
            ReadOut::File { mode, mtime_ns } => {
                Found::File { bytes: Box::new(Pieces::new(incoming)), mode, mtime_ns }
            }
            ReadOut::Symlink(text) => Found::Symlink(text),
        })
    }

    /// As [`desk::digest`].
    pub(in crate::sinks) fn digest(
        &self,
        path: &RelPath,
        seen: Content,
    ) -> io::Result<Option<Digest>> {
        self.answer(&Errand::Digest { path: path.clone(), seen })
    }

    /// As [`desk::place`].
    pub(in crate::sinks) fn place(&self, what: &Placed, bytes: &mut dyn Read) -> io::Result<()> {
        let (mut incoming, outgoing) = self.errand(&Errand::Place(what.clone()))?;
        // Where it fails there, what it says tells more than that it takes no more.
        match send(&outgoing, bytes).and_then(|()| outgoing.end().map_err(io::Error::other)) {
            Err(error) => self.hear::<()>(&mut incoming).and(Err(error)),
            Ok(()) => self.hear(&mut incoming),
        }
    }

    /// As [`desk::place_symlink`].
    pub(in crate::sinks) fn place_symlink(&self, path: &RelPath, text: &[u8]) -> io::Result<()> {
        self.answer(&Errand::PlaceSymlink { path: path.clone(), text: text.to_vec() })
    }

    /// As [`desk::purge`].
    pub(in crate::sinks) fn purge(&self, ops: &[u64]) -> io::Result<Vec<u64>> {
        let Purged { ops } = self.answer(&Errand::Purge(ops.to_vec()))?;
        Ok(ops)
    }

    /// What is to be remembered of operations of which nobody knows what became, and is on disk there.
    pub(in crate::sinks) fn settle(
        &self,
        announced: Vec<Announced>,
    ) -> io::Result<Vec<(Announced, Option<Vec<Change>>)>> {
        let (mut announced, mut all) = (announced.into_iter(), Vec::new());
        loop {
            let some: Vec<Announced> = announced.by_ref().take(JOBS_MAX).collect();
            if some.is_empty() {
                return Ok(all);
            }
            let errand = Errand::Settle(some);
            let Settled { each } = self.answer(&errand)?;
            let Errand::Settle(some) = errand else { return Ok(all) };
            all.extend(some.into_iter().zip(each).map(|(about, settled)| {
                let changes = settled.map(|Remember { changes }| {
                    changes.into_iter().filter_map(|change| change.change(&about)).collect()
                });
                (about, changes)
            }));
        }
    }
}

/// Runs the errand that is asked for on a stream.
///
/// # Errors
/// The stream broke.
pub fn serve_errand(
    site: &Site,
    boot: [u8; 16],
    mut incoming: Incoming,
    outgoing: &Arc<Outgoing>,
) -> Result<(), Broken> {
    let failure = |error: io::Error| Failure::of(&ApplyError::io("do it")(error));
    match incoming.expect::<Errand>(ANSWER_MAX)? {
        Errand::Read(of) => match desk::read(site, &of) {
            Ok(Found::File { mut bytes, mode, mtime_ns }) => {
                outgoing.say(&Ok::<_, Failure>(ReadOut::File { mode, mtime_ns }))?;
                // Cut off, it is no end: whoever reads is told.
                send(outgoing, &mut bytes).map_err(|error| Broken::Garbled(error.to_string()))?;
            }
            Ok(Found::Symlink(text)) => outgoing.say(&Ok::<_, Failure>(ReadOut::Symlink(text)))?,
            Err(error) => outgoing.say(&Err::<ReadOut, _>(failure(error)))?,
        },
        Errand::Digest { path, seen } => {
            outgoing.say(&desk::digest(&site.root, &path, seen).map_err(failure))?;
        }
        Errand::Place(what) => {
            let placed = desk::place(site, &what, &mut Pieces::new(incoming));
            outgoing.say(&placed.map_err(failure))?;
        }
        Errand::PlaceSymlink { path, text } => {
            outgoing.say(&desk::place_symlink(&site.root, &path, &text).map_err(failure))?;
        }
        Errand::Purge(ops) => {
            outgoing.say(&Ok::<_, Failure>(Purged { ops: desk::purge(site, &ops) }))?;
        }
        Errand::Settle(announced) => {
            outgoing.say(&Ok::<_, Failure>(settle_all(site, boot, &announced)))?;
        }
    }
    outgoing.end()
}

fn settle_all(site: &Site, boot: [u8; 16], announced: &[Announced]) -> Settled {
    let none = || Settled { each: announced.iter().map(|_| None).collect() };
    let (Ok(store), Some(first)) = (&site.store, announced.first()) else { return none() };
    let ended = Ended::of_one(first.intent.replica, site);
    let settled = announced.iter().map(|Announced { op, spare, intent }| {
        // What a file was copied from is on another machine.
        let (root, spare) = (|_| None, || OpId(*spare));
        let around = Around { root: &root, spare: &spare, boot, ended: &ended };
        let mut changes = Vec::new();
        settle(&around, (site, store), OpId(*op), intent, &mut changes).ok()?;
        Some(Remember { changes: changes.into_iter().filter_map(Remembered::of).collect() })
    });
    let settled = Settled { each: settled.collect() };
    match sys::sync_fs(&site.root) {
        Ok(()) => settled,
        Err(_) => none(),
    }
}
