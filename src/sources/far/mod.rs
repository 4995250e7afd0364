//! A replica on another machine, as sources see it: its agent scans and watches, and tells what it sees.
//!
//! Holds: what an agent says is about its own replica, or it is believed no more; nothing it says by old rules counts once
//! new ones are known here; one that has said that something is not listed is at rest only when it says so; when it is
//! gone, nothing that is missing there counts (INV-3).

pub mod page;
mod pending;
#[cfg(test)]
pub(crate) mod stepped;
pub mod tell;
pub mod wire;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::replica::Replica;
use crate::sources::ignores::Ignores;
use crate::sources::scan::pool::{Scanner, Seen, Sink};
use crate::ssh::link::Broken;
use crate::ssh::talk::{Incoming, Outgoing};
use page::Last;
use pending::Pending;
use wire::{Ask, MESSAGE_MAX, Told};

/// What this side keeps of a replica that an agent looks at. Dropped, the agent is told to look no more.
pub(super) struct FarTree {
    replica: Replica,
    scanner: Arc<Scanner>,
    /// `None` once nothing more is asked.
    asks: Mutex<Option<Sender<Ask>>>,
    shared: Arc<Shared>,
    /// Its sender is dropped at the end.
    ended: Receiver<()>,
}

struct Shared {
    replica: Replica,
    sink: Sink,
    state: Mutex<State>,
    /// Held while something is passed on: never by whoever takes it.
    passing: Mutex<()>,
}

#[derive(Default)]
struct State {
    asked: u64,
    /// How much it had been asked when it last was quiet.
    quiet: u64,
    /// It has said since that something is not listed: it is about to list it, or to say why not.
    owes: bool,
    scans: BTreeSet<u64>,
    flushes: BTreeSet<u64>,
    pending: Pending,
    /// Most of what is scanned is known here.
    known: bool,
    is_over: bool,
    /// The agent is gone, which is being said.
    is_lost: bool,
    /// Nobody here wants to hear of it any more.
    is_dropped: bool,
    /// The agent has put it away, and said so.
    has_ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passing(&self) -> MutexGuard<'_, ()> {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a [`FarTree`] is made with.
pub(super) struct Wiring {
    pub(super) replica: Replica,
    pub(super) sync: u32,
    pub(super) scanner: Arc<Scanner>,
    pub(super) ignores: Arc<Ignores>,
    pub(super) sink: Sink,
    /// What it had when it was looked at before is known.
    pub(super) known: bool,
    /// Called with the number of a flush that is through, or was under way when the agent was lost.
    pub(super) flushed: Arc<dyn Fn(u64) + Send + Sync>,
}

impl FarTree {
    /// Takes over a stream on which a replica has been opened.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(
        wiring: Wiring,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> io::Result<Self> {
        let (asks, to_ask) = crossbeam_channel::unbounded();
        let Wiring { replica, scanner, .. } = &wiring;
        let (replica, scanner) = (*replica, scanner.clone());
        let sink = wiring.sink.clone();
        let state = Mutex::new(State { known: wiring.known, ..State::default() });
        let shared = Arc::new(Shared { replica, sink, state, passing: Mutex::default() });
        let (ends, ended) = crossbeam_channel::bounded(0);
        let says = Saying { asks: to_ask, outgoing, last: Last::default() };
        let last = Last::default();
        let hears = Hearing { shared: shared.clone(), wiring, incoming, last, _ends: ends };
        let far = Self { replica, scanner, asks: Mutex::new(Some(asks)), shared, ended };
        #[cfg(test)]
        if stepped::is_here() {
            stepped::take(says, hears);
            return Ok(far);
        }
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        drop(thread("far-asks").spawn(move || says.run())?);
        drop(thread("far-tells").spawn(move || hears.run())?);
        Ok(far)
    }

    /// Has the agent take down what says whose it is, and waits as [`Self::end`]. Whether the agent has ended in that time.
    pub(super) fn put_away(&self, patience: Duration) -> bool {
        if self.shared.state().is_over {
            return false;
        }
        self.ask(Ask::PutAway);
        self.close();
        // Nothing is ever sent.
        self.ended.recv_timeout(patience).unwrap_or_default();
        self.shared.state().has_ended
    }

    /// Wants no more of it, and waits until its agent has put it away or has had its time. Nobody may be waiting to pass
    /// something on to who calls this.
    pub(super) fn end(&self, patience: Duration) {
        self.close();
        // Nothing is ever sent: it is over, or the time is.
        self.ended.recv_timeout(patience).unwrap_or_default();
    }

    fn close(&self) {
        let mut state = self.shared.state();
        (state.is_over, state.is_dropped) = (true, true);
        drop(state);
        drop(self.asks.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn ask(&self, ask: Ask) {
        let mut state = self.shared.state();
        self.ask_in(&mut state, ask);
    }

    /// In the order in which it is counted.
    fn ask_in(&self, state: &mut State, ask: Ask) {
        state.asked += 1;
        // One that has ended is told of by its reader.
        if let Some(asks) = &*self.asks.lock().unwrap_or_else(PoisonError::into_inner) {
            drop(asks.send(ask));
        }
    }

    /// As `Handle::scan`; `None` once the agent is lost.
    pub(super) fn scan(&self, dir: &RelPath) -> Option<u64> {
        let number = self.scanner.number();
        let mut state = self.shared.state();
        if state.is_over {
            return None;
        }
        state.scans.insert(number);
        let known = state.known;
        self.ask_in(&mut state, Ask::Scan { dir: dir.clone(), number, known });
        Some(number)
    }

    /// Whether its agent is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.shared.state().is_lost
    }

    /// Has a directory told whole.
    pub(super) fn list(&self, dir: &RelPath) {
        self.ask(Ask::List(dir.clone()));
    }

    /// Has all small files in a directory read that nobody has read, but these.
    pub(super) fn fill(&self, dir: &RelPath, except: Vec<Name>) {
        self.ask(Ask::Fill { dir: dir.clone(), except });
    }

    pub(super) fn read(&self, path: &RelPath) {
        self.ask(Ask::Read(path.clone()));
    }

    pub(super) fn look(&self, path: &RelPath) {
        self.ask(Ask::Look(path.clone()));
    }

    /// Whether the end of it will be told.
    pub(super) fn flush(&self, number: u64) -> bool {
        let mut state = self.shared.state();
        if state.is_over {
            return false;
        }
        state.flushes.insert(number);
        self.ask_in(&mut state, Ask::Flush(number));
        true
    }

    /// Whether nothing is left to look at, as far as it has told.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.shared.state();
        state.is_over || (state.quiet == state.asked && !state.owes)
    }

    /// Says what a file of rules of any replica says now. `again`: what was known of the directory is void until it has
    /// been listed by them.
    pub(super) fn rules(&self, replica: Replica, dir: &RelPath, text: Option<&[u8]>, again: bool) {
        let _passing = self.shared.passing();
        let mut state = self.shared.state();
        let again = again.then(|| state.pending.begin(dir));
        let (dir, text) = (dir.clone(), text.map(<[u8]>::to_vec));
        self.ask_in(&mut state, Ask::Rules { replica, dir: dir.clone(), text, again });
        drop(state);
        if again.is_some() {
            let replica = self.replica;
            (self.shared.sink)(Seen::Facts(vec![Fact::Unlisted { replica, dir }]));
        }
    }

    pub(super) fn forget(&self, replica: Replica) {
        self.ask(Ask::Forget(replica));
    }

    pub(super) fn let_in(&self) {
        self.ask(Ask::LetIn);
    }
}

impl Drop for FarTree {
    fn drop(&mut self) {
        self.close();
    }
}

/// Says to the agent what it is asked.
struct Saying {
    asks: Receiver<Ask>,
    outgoing: Outgoing,
    last: Last,
}

impl Saying {
    fn run(mut self) {
        while let Ok(ask) = self.asks.recv() {
            if self.say(&ask).is_err() {
                return;
            }
        }
        self.end();
    }

    fn say(&mut self, ask: &Ask) -> Result<(), Broken> {
        self.outgoing.bytes(&ask.bytes(&mut self.last))?;
        if self.asks.is_empty() { self.outgoing.flush() } else { Ok(()) }
    }

    /// Whoever made it wants no more of it.
    fn end(&self) {
        drop(self.outgoing.end());
    }
}

/// Takes in what the agent tells.
struct Hearing {
    shared: Arc<Shared>,
    wiring: Wiring,
    incoming: Incoming,
    last: Last,
    _ends: Sender<()>,
}

impl Hearing {
    fn run(mut self) {
        let why = loop {
            if let Some(why) = self.hear() {
                break why;
            }
        };
        self.end(why);
    }

    /// Takes in what comes next; why it was the last.
    fn hear(&mut self) -> Option<String> {
        match self.incoming.message(MESSAGE_MAX) {
            Ok(Some(bytes)) => {
                let told = Told::read(bytes, self.shared.replica, &mut self.last);
                let garbled = |bad| Broken::Garbled(format!("what it tells is no page: {bad}"));
                let taken = told.map_err(garbled).and_then(|told| self.take(told));
                taken.err().map(|broken| broken.to_string())
            }
            Ok(None) => {
                self.shared.state().has_ended = true;
                Some("it looks at the replica no more".to_owned())
            }
            Err(broken) => Some(broken.to_string()),
        }
    }

    /// Nothing more comes.
    fn end(&self, why: String) {
        let mut state = self.shared.state();
        let (scans, is_dropped) = (std::mem::take(&mut state.scans), state.is_dropped);
        state.is_lost = true;
        drop(state);
        let replica = self.shared.replica;
        let sink = &self.shared.sink;
        if is_dropped {
            // Another one may be in its place by now: of this one it is only said that nothing more will come.
            scans.into_iter().for_each(|scan| sink(Seen::Done { replica, scan }));
        } else {
            let scans = scans.into_iter().collect();
            sink(Seen::Away { replica, scans, why });
        }
        // Not before it has been said: who asks then is not told that all is seen.
        let mut state = self.shared.state();
        state.is_over = true;
        let late = std::mem::take(&mut state.scans);
        let flushes = std::mem::take(&mut state.flushes);
        drop(state);
        late.into_iter().for_each(|scan| sink(Seen::Done { replica, scan }));
        flushes.into_iter().for_each(|number| (self.wiring.flushed)(number));
    }

    fn take(&self, told: Told) -> Result<(), Broken> {
        let replica = self.shared.replica;
        let sink = &self.shared.sink;
        if self.shared.state().is_dropped {
            return Ok(());
        }
        match told {
            Told::Facts(mut facts) => {
                if !facts.iter().all(|fact| is_about(fact, replica)) {
                    return Err(Broken::Garbled("it speaks of what it cannot know".to_owned()));
                }
                // Until it is passed on no rules come between: what is void by them is said after it.
                let _passing = self.shared.passing();
                let mut state = self.shared.state();
                state.owes |= facts.iter().any(|fact| matches!(fact, Fact::Unlisted { .. }));
                facts.retain(|fact| !state.pending.covers(fact));
                drop(state);
                if !facts.is_empty() {
                    sink(Seen::Facts(facts));
                }
            }
            Told::Same { dir, print } => {
                let _passing = self.shared.passing();
                if !self.shared.state().pending.covers_dir(&dir) {
                    sink(Seen::Same { replica, dir, print });
                }
            }
            Told::Trouble { path, trouble } => sink(Seen::Trouble { replica, path, trouble }),
            Told::Watched(dir) => sink(Seen::Watched { replica, dir }),
            Told::RootGone => sink(Seen::RootGone { replica }),
            Told::Done(scan) => {
                let mut state = self.shared.state();
                let is_ours = state.scans.remove(&scan);
                state.known |= is_ours;
                drop(state);
                if is_ours {
                    sink(Seen::Done { replica, scan });
                }
            }
            Told::Flushed(number) => {
                if self.shared.state().flushes.remove(&number) {
                    (self.wiring.flushed)(number);
                }
            }
            Told::Quiet { asked } => {
                let mut state = self.shared.state();
                (state.quiet, state.owes) = (asked, false);
                drop(state);
                sink(Seen::Quiet { replica });
            }
            Told::Rules { dir, text } => {
                let again = self.wiring.ignores.set(replica, &dir, text.as_deref());
                if let Some(dir) = again {
                    self.wiring.scanner.unlist(self.wiring.sync, std::slice::from_ref(&dir));
                    self.wiring.scanner.scan_again(self.wiring.sync, &[dir]);
                }
            }
            Told::RulesTaken(round) => self.shared.state().pending.end(round),
        }
        Ok(())
    }
}

/// Whether a fact is one that an agent can know of its replica.
fn is_about(fact: &Fact, own: Replica) -> bool {
    match fact {
        Fact::Listed { replica, .. }
        | Fact::Holds { replica, .. }
        | Fact::Unlisted { replica, .. } => *replica == own,
        Fact::Means { .. } => true,
        Fact::Agreed { .. } | Fact::Past { .. } | Fact::Yields { .. } => false,
    }
}

#[cfg(test)]
mod tests;
