//! This side: what is ordered from an agent, and what it is asked to offer.

use super::sent::{Parts, SentFile, send_word};
use super::wire::{
    ANSWER_MAX, Failure, Flushed, Group, Looked, MESSAGE_MAX, Offer, Order, Outcome, Reply,
};
use super::{Far, lost};
use serde::de::DeserializeOwned;

use crate::dataflow::model::job::Job;
use crate::dataflow::model::value::Value;
use crate::sinks::act::Word;
use crate::sinks::apply::{Applied, ApplyError, Control, KnownDigests, Part, Said, goes_on};
use crate::sinks::stage::OpId;
use crate::ssh::link::Broken;
use crate::ssh::protocol::Request;
use crate::ssh::talk::{Incoming, Outgoing};
use crate::sys::Stat;

/// What an order came to: what it did, and what was displaced, also where it failed.
pub(in crate::sinks) type Ordered = (Result<Applied, ApplyError>, Option<Value>);

/// A batch that an agent carries out.
pub(in crate::sinks) struct Orders<'a> {
    far: &'a Far,
    incoming: Incoming,
    outgoing: Outgoing,
    /// So many jobs are answered, ordered or not.
    jobs: usize,
    /// A group is of one moment: no part of an earlier one is gone on with.
    is_group: bool,
    /// Why nothing more goes out.
    broken: Option<Broken>,
    /// What became of all, said before all was ordered.
    early: Option<Outcome>,
}

impl<'a> Orders<'a> {
    /// For so many jobs that carry so many bytes.
    ///
    /// # Errors
    /// The agent is not there.
    pub(in crate::sinks) fn open(
        far: &'a Far,
        durable: Option<u64>,
        (jobs, bytes): (usize, u64),
    ) -> Result<Self, ApplyError> {
        let act = |replica| Request::Act { replica, durable };
        let (incoming, outgoing) = far.ask_bulk(bytes, act)?;
        let (is_group, broken, early) = (false, None, None);
        Ok(Self { far, incoming, outgoing, jobs, is_group, broken, early })
    }

    /// Orders the jobs of a group, which are acted on once [`Self::go`] is said.
    ///
    /// # Errors
    /// The agent is not there.
    pub(in crate::sinks) fn open_group(
        far: &'a Far,
        durable: Option<u64>,
        group: &Group,
    ) -> Result<Self, ApplyError> {
        let act = |replica| Request::ActGroup { replica, durable };
        let (incoming, outgoing) = far.ask_bulk(group.bytes(), act)?;
        let broken = outgoing.say(group).err();
        let (jobs, is_group, early) = (group.jobs.len(), true, None);
        Ok(Self { far, incoming, outgoing, jobs, is_group, broken, early })
    }

    /// That all of a group is of one moment; or why nothing of it is to be done.
    pub(in crate::sinks) fn go(&mut self, looked: Result<(), ApplyError>) {
        let looked: Looked = looked.map_err(|error| Failure::of(&error));
        if self.broken.is_none() {
            self.broken = self.outgoing.say(&looked).err();
        }
    }

    /// Orders a job whose other end is here; one of a group without its name, which has been said.
    pub(in crate::sinks) fn order(
        &mut self,
        named: Option<(OpId, &Job)>,
        word: Result<Word, ApplyError>,
        digests: &dyn KnownDigests,
        control: &Control,
    ) {
        let offer = match &word {
            Ok(Word::Said(said)) => Ok(said.clone()),
            Ok(Word::File(sending)) => Ok(Said::File(*sending.stat())),
            Err(error) => Err(Failure::of(error)),
        };
        if !self.say(named, offer) {
            return;
        }
        let Ok(Word::File(sending)) = word else { return };
        let Ok(part) = self.part(sending.stat()) else { return };
        self.broken = send_word(&self.outgoing, *sending, part, digests, control).err();
    }

    /// What the agent has of a file that was just ordered; `None` for one that is sent at once.
    ///
    /// # Errors
    /// It is not to be sent.
    fn part(&mut self, stat: &Stat) -> Result<Option<Part>, ()> {
        if self.is_group || !goes_on(stat) {
            return Ok(None);
        }
        let heard = self.outgoing.flush().and_then(|()| self.incoming.expect::<Reply>(ANSWER_MAX));
        match heard {
            Ok(Reply::Part(part)) => return Ok(Some(part)),
            Ok(Reply::Outcome(outcome)) => {
                self.early = Some(outcome);
                self.broken = Some(Broken::Enough);
            }
            Err(broken) => self.broken = Some(broken),
        }
        Err(())
    }

    /// Whether it goes out.
    fn say(&mut self, named: Option<(OpId, &Job)>, offer: Offer) -> bool {
        if self.broken.is_none() {
            let said = match named {
                Some((op, job)) => self.outgoing.say(&Order { op: op.0, job: job.clone(), offer }),
                None => self.outgoing.say(&offer),
            };
            self.broken = said.err();
        }
        self.broken.is_none()
    }

    /// Orders a job whose other end is on a machine as well: what that offers passes through here.
    pub(in crate::sinks) fn forward(
        &mut self,
        named: Option<(OpId, &Job)>,
        from: &mut Fetched,
        control: &Control,
    ) {
        let offer = from.next().map_err(|error| Failure::of(&error));
        let stat = if let Ok(Said::File(stat)) = &offer { Some(*stat) } else { None };
        let goes_out = self.say(named, offer);
        let Some(stat) = stat else { return };
        let part = if goes_out { self.part(&stat) } else { Err(()) };
        let mut bytes = if self.is_group { from.bytes() } else { from.bytes_of(&stat) };
        let piped = match part {
            Err(()) => {
                bytes.skip();
                return;
            }
            Ok(None) => Ok(()),
            // Where it cannot be heard, the pipe says so to the other side.
            Ok(Some(part)) => self.outgoing.say(&bytes.ask(part).unwrap_or_default()),
        };
        let piped = piped.and_then(|()| bytes.pipe(&self.outgoing, control));
        self.broken = self.broken.take().or(piped.err());
    }

    /// Waits for what became of all jobs, in their order; and whether it is on disk there.
    pub(in crate::sinks) fn outcome(mut self) -> (Vec<Ordered>, Flushed) {
        let ended = match (self.broken.take(), self.early.take()) {
            (None | Some(Broken::Enough), Some(outcome)) => Ok(outcome),
            (None | Some(Broken::Enough), None) => {
                // Whoever has answered needs no end.
                drop(self.outgoing.end());
                self.incoming.expect::<Reply>(ANSWER_MAX).and_then(|reply| match reply {
                    Reply::Outcome(outcome) => Ok(outcome),
                    Reply::Part(_) => Err(Broken::Garbled("a part of no file".to_owned())),
                })
            }
            (Some(broken), _) => Err(broken),
        };
        let host = self.far.host.as_str();
        let ended = ended.and_then(|outcome| match outcome.ended.len() > self.jobs {
            true => Err(Broken::Garbled("it answers for jobs that there are not".to_owned())),
            false => Ok(outcome),
        });
        match ended {
            Ok(Outcome { ended, durable }) => {
                let results = ended
                    .into_iter()
                    .map(|ended| (ended.result.map_err(|failure| failure.error(host)), ended.kept));
                let mut results: Vec<Ordered> = results.collect();
                // What came after a large one that failed was not tried.
                results.resize_with(self.jobs, || (Err(ApplyError::Cancelled), None));
                (results, durable.believed())
            }
            Err(broken) => {
                let lost = || (Err(self.far.broken(&broken)), None);
                ((0..self.jobs).map(|_| lost()).collect(), Flushed::No)
            }
        }
    }
}

/// What an agent offers for jobs whose other end it has, one after the other.
pub(in crate::sinks) struct Fetched {
    host: String,
    incoming: Incoming,
    /// Where it is said what is there of large files; `None` where they come at once.
    outgoing: Option<Outgoing>,
    /// Why nothing more comes.
    broken: Option<Broken>,
}

impl Fetched {
    /// What comes on a stream from `host`.
    pub(in crate::sinks) fn of(host: &str, incoming: Incoming) -> Self {
        Self { host: host.to_owned(), incoming, outgoing: None, broken: None }
    }

    /// Asks for all of them at once.
    ///
    /// # Errors
    /// The agent is not there.
    pub(in crate::sinks) fn open(far: &Far, jobs: &[&Job]) -> Result<Self, ApplyError> {
        let bytes = Job::bytes_of(jobs.iter().copied());
        let (incoming, outgoing) = far.ask_bulk(bytes, |replica| Request::Offer { replica })?;
        let mut asked = outgoing.say(&u32::try_from(jobs.len()).unwrap_or(u32::MAX));
        for job in jobs {
            asked = asked.and_then(|()| outgoing.say(job));
        }
        let broken = asked.and_then(|()| outgoing.flush()).err();
        let outgoing = Some(outgoing);
        Ok(Self { host: far.host.clone(), incoming, outgoing, broken })
    }

    /// Asks for those of a group, of which it looks at all files before the first and after the last.
    ///
    /// # Errors
    /// The agent is not there, or a file is not what is known of it.
    pub(in crate::sinks) fn open_group(far: &Far, group: &Group) -> Result<Self, ApplyError> {
        let offer = |replica| Request::OfferGroup { replica };
        let (incoming, outgoing) = far.ask_bulk(group.bytes(), offer)?;
        let broken = outgoing.say(group).and_then(|()| outgoing.end()).err();
        let mut fetched = Self { host: far.host.clone(), incoming, outgoing: None, broken };
        fetched.looked()?;
        Ok(fetched)
    }

    /// What came of a look at all files of a group.
    ///
    /// # Errors
    /// They are not what is known of them, or the connection broke.
    pub(in crate::sinks) fn looked(&mut self) -> Result<(), ApplyError> {
        self.hear::<Looked>()?.map_err(|failure| failure.error(&self.host))
    }

    fn hear<T: DeserializeOwned>(&mut self) -> Result<T, ApplyError> {
        if let Some(broken) = &self.broken {
            return Err(lost(&self.host, broken));
        }
        self.incoming.expect(MESSAGE_MAX).map_err(|broken| {
            let error = lost(&self.host, &broken);
            self.broken = Some(broken);
            error
        })
    }

    /// Why nothing more comes, if that is so.
    pub(in crate::sinks) fn broken(mut self) -> Option<Broken> {
        self.broken.take()
    }

    /// What it says of the next job; of a file, before anything else is asked, [`Self::bytes`] are to be taken.
    ///
    /// # Errors
    /// Its own, or the connection broke.
    pub(in crate::sinks) fn next(&mut self) -> Result<Said, ApplyError> {
        self.hear::<Offer>()?.map_err(|failure| failure.error(&self.host))
    }

    pub(in crate::sinks) fn bytes(&mut self) -> SentFile<'_> {
        SentFile::new(&mut self.incoming, &self.host, &mut self.broken)
    }

    /// As [`Self::bytes`], of a file with this stat: a large one is gone on with.
    pub(in crate::sinks) fn bytes_of(&mut self, stat: &Stat) -> SentFile<'_> {
        let sent = SentFile::new(&mut self.incoming, &self.host, &mut self.broken);
        match self.outgoing.as_ref().filter(|_| goes_on(stat)) {
            Some(outgoing) => sent.after(Parts::Offered(outgoing)),
            None => sent,
        }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if let Some(outgoing) = self.outgoing.as_ref().filter(|_| self.broken.is_none()) {
            // Whoever has said all needs no end.
            drop(outgoing.end());
        }
    }
}

/// Has an agent mark its replica and flush it to disk.
pub(in crate::sinks) fn flush(far: &Far, mark: u64) -> Flushed {
    let asked = far.ask(|replica| Request::Flush { replica, mark });
    let flushed = asked.and_then(|(mut incoming, out)| {
        out.end().map_err(|broken| far.broken(&broken))?;
        incoming.expect::<Flushed>(MESSAGE_MAX).map_err(|broken| far.broken(&broken))
    });
    flushed.unwrap_or(Flushed::No).believed()
}
