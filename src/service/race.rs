//! Attempts on several routes to a host, each begun a moment after the one before.
//!
//! Holds: one agent at a time is seen to, so that a file is not copied twice; an attempt that is given up ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::service::dial::{Attempt, Step};
use crate::ssh::ask::Ask;
use crate::ssh::contact::NoContact;
use crate::ssh::destination::Destination;
use crate::ssh::peer::Peer;
use crate::ssh::route::Route;

/// The next route is tried when the one before has had so long.
const STAGGER: Duration = Duration::from_millis(250);

/// What happens in a race.
pub(super) enum News {
    /// Of an attempt, by the number of its route and how often all began anew before it.
    Step(usize, u32, Step),
    /// The network is another one: what was tried in the old one says nothing, and may wait for an answer that never comes.
    Network,
}

/// Attempts on several routes that are under way.
pub(super) struct Race {
    host: Destination,
    ask: Arc<dyn Ask>,
    pub(super) routes: Vec<Route>,
    /// Each attempt until it has ended or was told to go on; the round counts how often it began.
    attempts: Vec<Option<Attempt>>,
    round: u32,
    begun: usize,
    /// Those that wait to be told to go on.
    reached: Vec<usize>,
    /// The one that sees to its agent.
    starting: Option<usize>,
    pub(super) failed: Vec<(Route, NoContact)>,
    pub(super) tell: Sender<News>,
    told: Receiver<News>,
}

impl Race {
    pub(super) fn new(host: Destination, routes: Vec<Route>, ask: Arc<dyn Ask>) -> Self {
        let (tell, told) = unbounded();
        let (round, begun, reached, starting) = (0, 0, Vec::new(), None);
        let (attempts, failed) = (Vec::new(), Vec::new());
        Self { host, ask, routes, attempts, round, begun, reached, starting, failed, tell, told }
    }

    fn begin(&mut self) {
        let (n, round, tell) = (self.begun, self.round, self.tell.clone());
        // Nobody waits for one that was given up.
        let tell = move |step| tell.send(News::Step(n, round, step)).unwrap_or_default();
        let (host, route, ask) = (self.host.clone(), self.routes[n].clone(), self.ask.clone());
        self.attempts.push(Some(Attempt::start(host, route, ask, tell)));
        self.begun += 1;
    }

    /// Until one is up, or all have failed.
    pub(super) fn run(&mut self) -> Option<Arc<Peer>> {
        self.next(None)
    }

    /// The next one that is up; `None` once there is none, or the time is up.
    pub(super) fn next_up(&mut self, until: Instant) -> Option<Arc<Peer>> {
        self.next(Some(until))
    }

    fn next(&mut self, until: Option<Instant>) -> Option<Arc<Peer>> {
        loop {
            let is_going = self.starting.is_some() || self.open().next().is_some();
            if self.begun < self.routes.len() && !is_going {
                self.begin();
            } else if !is_going {
                return None;
            }
            if self.starting.is_none() && !self.reached.is_empty() {
                let n = self.reached.remove(0);
                if let Some(attempt) = self.attempts[n].take() {
                    attempt.go_on();
                }
                self.starting = Some(n);
            }
            match self.news(until) {
                Some(News::Network) => self.begin_anew(),
                // Of an attempt that was given up.
                Some(News::Step(_, round, _)) if round != self.round => {}
                Some(News::Step(n, _, step)) => {
                    if let Some(peer) = self.take(n, step) {
                        return Some(peer);
                    }
                }
                None if until.is_some_and(|until| Instant::now() >= until) => return None,
                None if self.begun < self.routes.len() => self.begin(),
                None => {}
            }
        }
    }

    /// What happens next; `None` when it is time for the next route, or the time is up.
    fn news(&self, until: Option<Instant>) -> Option<News> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let wait = match (left, self.begun < self.routes.len()) {
            (Some(left), true) => Some(left.min(STAGGER)),
            (None, true) => Some(STAGGER),
            (left, false) => left,
        };
        match wait {
            Some(wait) => self.told.recv_timeout(wait).ok(),
            None => self.told.recv().ok(),
        }
    }

    fn take(&mut self, n: usize, step: Step) -> Option<Arc<Peer>> {
        match step {
            Step::Reached => self.reached.push(n),
            Step::Up(peer) => {
                self.starting = None;
                return Some(peer);
            }
            Step::Failed(why) => {
                self.starting = self.starting.filter(|starting| *starting != n);
                self.reached.retain(|reached| *reached != n);
                self.attempts[n] = None;
                self.failed.push((self.routes[n].clone(), why));
                if self.begun < self.routes.len() {
                    self.begin();
                }
            }
        }
        None
    }

    fn begin_anew(&mut self) {
        self.round += 1;
        self.attempts.clear();
        self.reached.clear();
        self.failed.clear();
        (self.starting, self.begun) = (None, 0);
    }

    /// Those that have not ended and were not told to go on.
    pub(super) fn open(&self) -> impl Iterator<Item = Route> {
        let open = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.is_some());
        open.map(|(n, _)| self.routes[n].clone())
    }
}
