//! This side: what is ordered from an agent, and what it is asked to offer.

use super::Far;
use super::sent::{SentFile, send_word};
use super::wire::{ANSWER_MAX, Failure, MESSAGE_MAX, Offer, Order, Outcome};
use crate::dataflow::model::job::Job;
use crate::dataflow::model::value::Value;
use crate::sinks::act::Word;
use crate::sinks::apply::{Applied, ApplyError, Control, KnownDigests, Said};
use crate::sinks::stage::OpId;
use crate::ssh::link::Broken;
use crate::ssh::protocol::Request;
use crate::ssh::talk::{Incoming, Outgoing};

/// What an order came to: what it did, and what was displaced, also where it failed.
pub(in crate::sinks) type Ordered = (Result<Applied, ApplyError>, Option<Value>);

/// A batch that an agent carries out.
pub(in crate::sinks) struct Orders<'a> {
    far: &'a Far,
    incoming: Incoming,
    outgoing: Outgoing,
    ordered: usize,
    /// Why nothing more goes out.
    broken: Option<Broken>,
}

impl<'a> Orders<'a> {
    /// # Errors
    /// The agent is not there.
    pub(in crate::sinks) fn open(far: &'a Far, durable: bool) -> Result<Self, ApplyError> {
        let (incoming, outgoing) = far.ask(|replica| Request::Act { replica, durable })?;
        Ok(Self { far, incoming, outgoing, ordered: 0, broken: None })
    }

    /// Orders a job whose other end is here.
    pub(in crate::sinks) fn order(
        &mut self,
        (op, job): (OpId, &Job),
        word: Result<Word, ApplyError>,
        digests: &dyn KnownDigests,
        control: &Control,
    ) {
        self.ordered += 1;
        if self.broken.is_some() {
            return;
        }
        let offer = match &word {
            Ok(Word::Said(said)) => Ok(said.clone()),
            Ok(Word::File(sending)) => Ok(Said::File(*sending.stat())),
            Err(error) => Err(Failure::of(error)),
        };
        let order = Order { op: op.0, job: job.clone(), offer };
        let sent = self.outgoing.say(&order).and_then(|()| match word {
            Ok(Word::File(sending)) => send_word(&self.outgoing, *sending, digests, control),
            Ok(Word::Said(_)) | Err(_) => Ok(()),
        });
        self.broken = sent.err();
    }

    /// Orders a job whose other end is on a machine as well: what that offers passes through here.
    pub(in crate::sinks) fn forward(
        &mut self,
        (op, job): (OpId, &Job),
        from: &mut Fetched<'_>,
        control: &Control,
    ) {
        self.ordered += 1;
        let offer = from.next().map_err(|error| Failure::of(&error));
        let is_file = matches!(offer, Ok(Said::File(_)));
        if self.broken.is_none() {
            let order = Order { op: op.0, job: job.clone(), offer };
            self.broken = self.outgoing.say(&order).err();
        }
        if is_file {
            let sent = from.bytes();
            let piped = sent.pipe(&self.outgoing, control, self.broken.is_some());
            self.broken = self.broken.take().or(piped.err());
        }
    }

    /// Waits for what became of all that was ordered, in that order; and whether it is on disk there.
    pub(in crate::sinks) fn outcome(mut self) -> (Vec<Ordered>, bool) {
        let ended = match self.broken.take() {
            None | Some(Broken::Enough) => {
                // Whoever has answered needs no end.
                drop(self.outgoing.end());
                self.incoming.expect::<Outcome>(ANSWER_MAX)
            }
            Some(broken) => Err(broken),
        };
        let host = self.far.host.as_str();
        match ended {
            Ok(Outcome { ended, durable }) => {
                let results = ended
                    .into_iter()
                    .map(|ended| (ended.result.map_err(|failure| failure.error(host)), ended.kept));
                let mut results: Vec<Ordered> = results.take(self.ordered).collect();
                // What came after a large one that failed was not tried.
                results.resize_with(self.ordered, || (Err(ApplyError::Cancelled), None));
                (results, durable)
            }
            Err(broken) => {
                let lost = || (Err(self.far.broken(&broken)), None);
                ((0..self.ordered).map(|_| lost()).collect(), false)
            }
        }
    }
}

/// What an agent offers for jobs whose other end it has, one after the other.
pub(in crate::sinks) struct Fetched<'a> {
    far: &'a Far,
    incoming: Incoming,
    /// Why nothing more comes.
    broken: Option<Broken>,
}

impl<'a> Fetched<'a> {
    /// Asks for all of them at once.
    ///
    /// # Errors
    /// The agent is not there.
    pub(in crate::sinks) fn open<'j>(
        far: &'a Far,
        jobs: impl Iterator<Item = &'j Job>,
    ) -> Result<Self, ApplyError> {
        let (incoming, outgoing) = far.ask(|replica| Request::Offer { replica })?;
        let mut asked = Ok(());
        for job in jobs {
            asked = asked.and_then(|()| outgoing.say(job));
        }
        let broken = asked.and_then(|()| outgoing.end()).err();
        Ok(Self { far, incoming, broken })
    }

    /// What it says of the next job; of a file, before anything else is asked, [`Self::bytes`] are to be taken.
    ///
    /// # Errors
    /// Its own, or the connection broke.
    pub(in crate::sinks) fn next(&mut self) -> Result<Said, ApplyError> {
        if let Some(broken) = &self.broken {
            return Err(self.far.broken(broken));
        }
        match self.incoming.expect::<Offer>(MESSAGE_MAX) {
            Ok(offer) => offer.map_err(|failure| failure.error(&self.far.host)),
            Err(broken) => {
                let error = self.far.broken(&broken);
                self.broken = Some(broken);
                Err(error)
            }
        }
    }

    pub(in crate::sinks) fn bytes(&mut self) -> SentFile<'_> {
        SentFile::new(&mut self.incoming, &self.far.host, &mut self.broken)
    }
}

/// Has an agent flush its replica to disk; false if it did not.
pub(in crate::sinks) fn flush(far: &Far) -> bool {
    let flushed = far.ask(|replica| Request::Flush { replica }).and_then(|(mut incoming, out)| {
        out.end().map_err(|broken| far.broken(&broken))?;
        incoming.expect::<bool>(MESSAGE_MAX).map_err(|broken| far.broken(&broken))
    });
    flushed.unwrap_or(false)
}
