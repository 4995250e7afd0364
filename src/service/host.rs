//! One host: the ways to it, the agent in use, and one that stands by on another way.
//!
//! Holds: whoever wants the host while it is being reached waits for that attempt and has what comes of it; at rest nothing
//! is sent on any way and nothing wakes up: a better one is looked for when the network changes, and at most every 30 s
//! while the host is in use.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::Config;
use crate::service::race::{News, Race};
use crate::sources::control::wire::Way;
use crate::ssh::ask::{Ask, Nobody};
use crate::ssh::contact::NoContact;
use crate::ssh::destination::Destination;
use crate::ssh::error::Reason;
use crate::ssh::files::Here;
use crate::ssh::peer::Peer;
use crate::ssh::route::Route;
use crate::ssh::routes::{Known, Routes, Rtt, Standing};

/// So long the others may still take once one works.
const LATE: Duration = Duration::from_secs(3);
/// Whoever is asked whether it is there may be silent for so long.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// A route that could be better is tried so often while the host is in use.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// What such an attempt may take.
const PROBE_MAX: Duration = Duration::from_secs(15);

/// What the keeper of a replica is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// What was opened last, and so many times in all, is gone, or was never there; somebody wants it now.
    Try(u64),
    /// The network is another one.
    Network,
    /// There is a better way.
    Move,
}

/// A host that agents are reached on.
pub(super) struct Host {
    written: String,
    ask: Arc<dyn Ask>,
    /// The folder of the config file.
    config: Option<PathBuf>,
    dialing: Mutex<()>,
    state: Mutex<State>,
    /// Something has changed that whoever looks for a better way wants to know.
    stirred: Condvar,
}

#[derive(Default)]
struct State {
    routes: Routes,
    /// The agent in use, and the way to it.
    used: Option<(Route, Weak<Peer>)>,
    /// Why that one is used.
    why: String,
    /// How often it could not be reached, and why the last time.
    failed: (u64, Option<NoContact>),
    /// A better one that nobody uses yet.
    offered: Option<Arc<Peer>>,
    /// One that stands by.
    spare: Option<Arc<Peer>>,
    /// Whoever keeps a replica there reached; a spare is kept for them alone.
    keepers: Vec<Sender<Wake>>,
    /// To those who try all routes at the moment.
    racing: Option<Sender<News>>,
    /// A better way is looked for.
    is_probing: bool,
    /// The host was asked for something since that was done last.
    is_in_use: bool,
    /// The network has changed since.
    is_new_network: bool,
}

impl State {
    /// Routes that could be better than the one used, or stand by; none where nobody wants the host.
    fn worth_trying(&self) -> Vec<Route> {
        let is_alone = !self.spare.as_ref().is_some_and(|spare| spare.is_up());
        match self.used().filter(|_| !self.keepers.is_empty()) {
            Some(used) => self.routes.worth_trying(used.route(), is_alone),
            None => Vec::new(),
        }
    }

    fn could_be_better(&self) -> bool {
        !self.worth_trying().is_empty()
    }

    fn used(&self) -> Option<Arc<Peer>> {
        let (_, peer) = self.used.as_ref()?;
        peer.upgrade().filter(|peer| peer.is_up())
    }
}

impl Host {
    pub(super) fn new(written: &str, ask: Arc<dyn Ask>, config: Option<PathBuf>) -> Self {
        let (dialing, state, stirred) = (Mutex::default(), Mutex::default(), Condvar::new());
        Self { written: written.to_owned(), ask, config, dialing, state, stirred }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent in use, if it is not known to be gone.
    pub(super) fn used(&self) -> Option<Arc<Peer>> {
        self.state().used()
    }

    /// Why the agent in use is reached the way it is; empty where there is one way only.
    pub(super) fn why(&self) -> String {
        self.state().why.clone()
    }

    /// The agent there; blocks until it answers.
    pub(super) fn peer(self: &Arc<Self>) -> Result<Arc<Peer>, NoContact> {
        let failed = self.state().failed.0;
        let _dialing = self.dialing.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, why) = self.state().failed.clone();
        // An attempt that was waited for is one for all who did.
        if let Some(why) = why.filter(|_| now != failed) {
            return Err(why);
        }
        let reached = self.dial();
        if let Err(why) = &reached {
            let mut state = self.state();
            state.failed = (state.failed.0 + 1, Some(why.clone()));
        }
        reached
    }

    fn dial(self: &Arc<Self>) -> Result<Arc<Peer>, NoContact> {
        let before = {
            let mut state = self.state();
            let used = state.used();
            // From now on it is held by those who use it.
            state.offered = None;
            if let Some(peer) = used {
                return Ok(peer);
            }
            let before = state.used.take().map(|(route, _)| route);
            if let Some(route) = &before {
                // That a connection broke says nothing of the way.
                state.routes.note(route, Standing::Untried);
            }
            before
        };
        if let Some(peer) = self.take_spare() {
            let broke = before.map(|route| format!("the connection by {route} broke"));
            self.use_now(&peer, broke.unwrap_or_default());
            self.look_for_better();
            return Ok(peer);
        }
        let host = Destination::parse(&self.written)?;
        self.read_routes(&host)?;
        let routes = self.state().routes.to_try();
        let quietly: Arc<dyn Ask> = match routes.as_slice() {
            [_] => self.ask.clone(),
            _ => Arc::new(Nobody),
        };
        let raced = self.race(&host, routes, &quietly);
        match raced {
            Err(NoContact::Routes(tried)) if self.ask.is_there() => self.ask_by_each(&host, tried),
            raced => raced,
        }
    }

    /// Takes the one that stands by, if it is still there: at rest nobody is told that it is gone.
    fn take_spare(&self) -> Option<Arc<Peer>> {
        let spare = self.state().spare.take()?;
        match spare.check(SILENCE_MAX) {
            Ok(()) => Some(spare),
            Err(over) => {
                let mut state = self.state();
                state.routes.note(spare.route(), Standing::Failed(over.to_string()));
                None
            }
        }
    }

    fn use_now(self: &Arc<Self>, peer: &Arc<Peer>, why: String) {
        self.attend(peer);
        let mut state = self.state();
        state.used = Some((peer.route().clone(), Arc::downgrade(peer)));
        state.why = if state.routes.all().len() > 1 { why } else { String::new() };
        let standing = Standing::Works(peer.rtt().unwrap_or(Rtt::of(Duration::ZERO)));
        state.routes.note(peer.route(), standing);
    }

    /// Notes when the agent is asked for something.
    fn attend(self: &Arc<Self>, peer: &Peer) {
        let host = Arc::downgrade(self);
        peer.when_asked(move || {
            if let Some(host) = host.upgrade() {
                host.note_use();
            }
        });
    }

    /// The ways as they are written now.
    fn read_routes(&self, host: &Destination) -> Result<(), NoContact> {
        let routes = ways(host, self.config.as_deref()).map_err(NoContact::Here)?;
        self.state().routes.set(routes);
        Ok(())
    }

    /// Tries all routes, each a moment after the one before; the first that works is used.
    fn race(
        self: &Arc<Self>,
        host: &Destination,
        routes: Vec<Route>,
        ask: &Arc<dyn Ask>,
    ) -> Result<Arc<Peer>, NoContact> {
        let mut race = Race::new(host.clone(), routes, ask.clone());
        self.state().racing = Some(race.tell.clone());
        let won = race.run();
        self.state().racing = None;
        let mut state = self.state();
        for (route, why) in &race.failed {
            state.routes.note(route, Standing::Failed(why.to_string()));
        }
        drop(state);
        let Some(peer) = won else {
            let mut failed = race.failed;
            return Err(match (race.routes.len(), failed.pop()) {
                (1, Some((_, why))) => why,
                (_, last) => {
                    failed.extend(last);
                    NoContact::Routes(failed)
                }
            });
        };
        drop(peer.ping());
        self.use_now(&peer, "it answered first".to_owned());
        if race.routes.len() > 1 && !self.state().keepers.is_empty() {
            let (host, used) = (self.clone(), Arc::downgrade(&peer));
            let late = move || host.finish(race, &used);
            drop(std::thread::Builder::new().name("routes".to_owned()).spawn(late));
        }
        Ok(peer)
    }

    /// A person is asked what the routes that failed want to know, one after the other.
    fn ask_by_each(
        self: &Arc<Self>,
        host: &Destination,
        tried: Vec<(Route, NoContact)>,
    ) -> Result<Arc<Peer>, NoContact> {
        let mut failed = Vec::new();
        for (route, why) in tried {
            if !matches!(why.reason(), Reason::Auth | Reason::Hostkey) {
                failed.push((route, why));
                continue;
            }
            match self.race(host, vec![route.clone()], &self.ask.clone()) {
                Ok(peer) => return Ok(peer),
                Err(why) => failed.push((route, why)),
            }
        }
        Err(NoContact::Routes(failed))
    }

    /// What is left of a race that is won: a better one is moved to, another one stands by.
    fn finish(self: &Arc<Self>, mut race: Race, used: &Weak<Peer>) {
        if let Some(used) = used.upgrade() {
            self.measure(&used);
        }
        let until = Instant::now() + LATE;
        while let Some(peer) = race.next_up(until) {
            self.offer(peer);
        }
        let mut state = self.state();
        for (route, why) in &race.failed {
            state.routes.note(route, Standing::Failed(why.to_string()));
        }
        for route in race.open() {
            let why = format!("no answer within {} s of another route's", LATE.as_secs());
            state.routes.note(&route, Standing::Failed(why));
        }
        drop(state);
        drop(race);
        self.look_for_better();
    }

    fn measure(&self, peer: &Peer) {
        if let Ok(rtt) = peer.measure(SILENCE_MAX) {
            self.state().routes.note(peer.route(), Standing::Works(rtt));
        }
    }

    /// One more that works: it is used if it is clearly better, else it stands by.
    fn offer(self: &Arc<Self>, peer: Arc<Peer>) {
        self.attend(&peer);
        self.measure(&peer);
        let Some(used) = self.used() else { return };
        self.measure(&used);
        if !peer.is_up() || !used.is_up() {
            return;
        }
        let mut state = self.state();
        if state.keepers.is_empty() {
            return;
        }
        if !state.routes.is_better(peer.route(), used.route()) {
            let is_spare = state.spare.as_ref().is_some_and(|spare| {
                spare.is_up() && !state.routes.is_better(peer.route(), spare.route())
            });
            if !is_spare {
                state.spare = Some(peer);
            }
            return;
        }
        let ms = |peer: &Peer| peer.rtt().map_or(0.0, |rtt| rtt.mean.as_secs_f64() * 1000.0);
        let why =
            format!("it is better than {}: {:.1} ms and {:.1}", used.route(), ms(&peer), ms(&used));
        state.used = Some((peer.route().clone(), Arc::downgrade(&peer)));
        state.why = why;
        state.spare = Some(used);
        state.offered = Some(peer);
        for keeper in &state.keepers {
            keeper.send(Wake::Move).unwrap_or_default();
        }
    }

    /// Looks for a way that is better than the one used, as long as there could be one, on a thread of its own.
    fn look_for_better(self: &Arc<Self>) {
        let mut state = self.state();
        if state.is_probing || !state.could_be_better() {
            return;
        }
        state.is_probing = true;
        drop(state);
        let host = self.clone();
        let look = move || {
            while host.wait_for_a_try() {
                host.try_better();
            }
        };
        drop(std::thread::Builder::new().name("routes".to_owned()).spawn(look));
    }

    fn try_better(self: &Arc<Self>) {
        let Ok(asked) = Destination::parse(&self.written) else { return };
        // A file that makes no sense now is read again the next time.
        drop(self.read_routes(&asked));
        let routes = self.state().worth_trying();
        let mut race = Race::new(asked, routes, Arc::new(Nobody));
        let until = Instant::now() + PROBE_MAX;
        while let Some(peer) = race.next_up(until) {
            self.offer(peer);
        }
        let mut state = self.state();
        for (route, why) in &race.failed {
            state.routes.note(route, Standing::Failed(why.to_string()));
        }
    }

    fn note_use(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_in_use, true) {
            drop(state);
            self.stirred.notify_all();
        }
    }

    /// 30 s, and then until the host is used; or until the network changes. False once nothing could be better.
    fn wait_for_a_try(&self) -> bool {
        let mut state = self.state();
        state.is_in_use = false;
        let until = Instant::now() + PROBE_EVERY;
        loop {
            if !state.could_be_better() {
                state.is_probing = false;
                return false;
            }
            if std::mem::take(&mut state.is_new_network) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() && state.is_in_use {
                return true;
            }
            state = match left.is_zero() {
                true => self.stirred.wait(state).unwrap_or_else(PoisonError::into_inner),
                false => {
                    let waited = self.stirred.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The network is another one: what is under way begins anew, what is up is asked whether it still is.
    pub(super) fn network_changed(self: &Arc<Self>) {
        let mut state = self.state();
        if let Some(racing) = &state.racing {
            racing.send(News::Network).unwrap_or_default();
        }
        let (used, spare) = (state.used(), state.spare.clone());
        let keepers = state.keepers.clone();
        state.is_new_network = true;
        drop(state);
        for keeper in keepers {
            keeper.send(Wake::Network).unwrap_or_default();
        }
        let host = self.clone();
        let check = move || {
            // Both at the same time: whoever loses one wants the other at once.
            let checked = used.map(|used| {
                let thread = std::thread::Builder::new().name("routes".to_owned());
                thread.spawn(move || used.check(SILENCE_MAX).unwrap_or_default())
            });
            if spare.is_some_and(|spare| spare.check(SILENCE_MAX).is_err()) {
                let gone = host.state().spare.take();
                let over = Standing::Untried;
                gone.inspect(|gone| host.state().routes.note(gone.route(), over));
            }
            // It has no word to say that is of use here.
            drop(checked.and_then(Result::ok).map(std::thread::JoinHandle::join));
            host.stirred.notify_all();
            host.look_for_better();
        };
        drop(std::thread::Builder::new().name("routes".to_owned()).spawn(check));
    }

    /// Somebody keeps a replica there reached from now on.
    pub(super) fn keep(self: &Arc<Self>, wake: Sender<Wake>) -> Kept {
        self.state().keepers.push(wake.clone());
        Kept { host: self.clone(), wake }
    }

    /// The config file says something else of it.
    pub(super) fn read_again(self: &Arc<Self>) {
        let Ok(host) = Destination::parse(&self.written) else { return };
        // A file that makes no sense is told of by whoever wrote it.
        drop(self.read_routes(&host));
        self.state().is_new_network = true;
        self.stirred.notify_all();
        self.look_for_better();
    }

    /// All ways, as far as they are known.
    pub(super) fn ways(&self) -> Vec<Way> {
        let state = self.state();
        let (used, spare) = (state.used(), state.spare.clone().filter(|spare| spare.is_up()));
        let way = |known: &Known| {
            let is = |peer: &&Arc<Peer>| *peer.route() == known.route;
            let (used, spare) = (used.as_ref().filter(is), spare.as_ref().filter(is));
            let (word, why) = match (&known.standing, used, spare) {
                (_, Some(_), _) => ("used", state.why.clone()),
                (_, _, Some(_)) => ("ready", "it stands by".to_owned()),
                (Standing::Works(_), ..) => ("works", String::new()),
                (Standing::Failed(why), ..) => ("failed", why.clone()),
                (Standing::Untried, ..) => ("untried", String::new()),
            };
            let rtt = used.or(spare).and_then(|peer| peer.rtt()).or(match known.standing {
                Standing::Works(rtt) => Some(rtt),
                Standing::Failed(_) | Standing::Untried => None,
            });
            Way {
                route: known.route.to_string(),
                state: word.to_owned(),
                rtt_ms: rtt.and_then(|rtt| u64::try_from(rtt.mean.as_millis()).ok()),
                why,
            }
        };
        state.routes.all().iter().map(way).collect()
    }
}

/// While it lives, a replica there is kept reached.
pub(crate) struct Kept {
    host: Arc<Host>,
    wake: Sender<Wake>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.host.state();
        state.keepers.retain(|keeper| !keeper.same_channel(&self.wake));
        if state.keepers.is_empty() {
            state.spare = None;
        }
        drop(state);
        self.host.stirred.notify_all();
    }
}

/// The ways to a host as they are written, and how many machines each passes: those of the config file, and what the ssh
/// config says of the host.
///
/// # Errors
/// A file makes no sense.
pub fn ways(
    host: &Destination,
    config: Option<&std::path::Path>,
) -> Result<Vec<(Route, u32)>, String> {
    let mut routes = match config {
        Some(dir) => {
            let config = Config::load(dir).map_err(|error| error.to_string())?;
            config.routes.get(&host.host).cloned().unwrap_or_default()
        }
        None => Vec::new(),
    };
    let plain = Route::plain(host.clone());
    let bare = Destination { user: None, port: None, ..host.clone() };
    if !routes.iter().any(|route| *route == plain || *route == Route::plain(bare.clone())) {
        routes.push(plain);
    }
    let here = Here::from_env()?;
    let mut passed: Vec<Vec<(String, u16)>> = Vec::new();
    let mut counted = Vec::new();
    for route in routes {
        // One that makes no sense says so when it is tried.
        let way = here.way_by(host, &route).unwrap_or_default();
        let way: Vec<_> = way.into_iter().map(|machine| (machine.hostname, machine.port)).collect();
        // By another name it is the same: what breaks one breaks the other.
        if !way.is_empty() && passed.contains(&way) {
            continue;
        }
        counted.push((route, u32::try_from(way.len().saturating_sub(1)).unwrap_or(u32::MAX)));
        passed.push(way);
    }
    Ok(counted)
}
