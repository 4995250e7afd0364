//! A line between yeet and a server, which can be cut, be slow, and say nothing.
//!
//! Holds: it is cut between two machines, never by asking yeet.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::server::Server;

/// Stands between yeet and a server.
pub(crate) struct Line {
    pub(crate) proxy: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Of the server that it leads to.
    port: u16,
    is_cut: bool,
    /// Connections are taken, and nothing comes of them.
    is_silent: bool,
    is_frozen: bool,
    /// How often somebody came.
    came: usize,
    /// Bytes that have passed, in either direction.
    passed: u64,
    /// How long each piece is under way.
    delay: Duration,
    /// Bytes after which it is cut; `None`: never.
    left: Option<u64>,
    open: Vec<TcpStream>,
    /// Told when it is cut.
    ends: Arc<Condvar>,
}

impl State {
    fn cut(&mut self) {
        self.is_cut = true;
        for stream in self.open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        self.ends.notify_all();
    }
}

impl Line {
    pub(crate) fn to(port: u16) -> Self {
        let state = Arc::new(Mutex::new(State { port, ..State::default() }));
        let of_all = state.clone();
        let proxy = Server::new(move |near| {
            let mut state = of_all.lock().unwrap();
            state.came += 1;
            if state.is_cut {
                return;
            }
            if state.is_silent {
                state.open.push(near);
                return;
            }
            // Where no server is, nobody is answered.
            let Ok(far) = TcpStream::connect(("127.0.0.1", state.port)) else { return };
            state.open.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
            let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            let counted = of_all.clone();
            let passing = of_all.clone();
            drop(std::thread::spawn(move || pass(near, far, &counted)));
            drop(std::thread::spawn(move || pass(back_from, back_to, &passing)));
        });
        Self { proxy, state }
    }

    pub(crate) fn cut(&self) {
        self.state.lock().unwrap().cut();
    }

    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.lock().unwrap().left = Some(bytes);
    }

    /// How many bytes have passed since this was asked last.
    pub(crate) fn passed(&self) -> u64 {
        std::mem::take(&mut self.state.lock().unwrap().passed)
    }

    /// The same, and the count goes on.
    pub(crate) fn has_passed(&self) -> u64 {
        self.state.lock().unwrap().passed
    }

    /// How often somebody has come since this was asked last.
    pub(crate) fn came(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().came)
    }

    /// Nothing more passes, in either direction, and nobody is told.
    pub(crate) fn freeze(&self) {
        self.state.lock().unwrap().is_frozen = true;
    }

    /// What passes from now on takes so much longer.
    pub(crate) fn slow(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Ends what there is; whoever comes now is not answered.
    pub(crate) fn hush(&self) {
        let mut state = self.state.lock().unwrap();
        state.cut();
        (state.is_cut, state.is_silent) = (false, true);
    }

    pub(crate) fn mend(&self) {
        self.mend_slow(Duration::ZERO);
    }

    /// The same, and what passes takes so much longer.
    pub(crate) fn mend_slow(&self, delay: Duration) {
        let mut state = self.state.lock().unwrap();
        if state.is_silent || state.is_frozen {
            state.cut();
        }
        let State { passed, port, .. } = *state;
        *state = State { passed, port, delay, ..State::default() };
    }

    /// Another server is at its end from now on.
    pub(crate) fn leads_to(&self, port: u16) {
        self.state.lock().unwrap().port = port;
    }

    /// How many bytes pass while something is done.
    pub(crate) fn passes(&self, act: impl FnOnce()) -> u64 {
        let before = self.state.lock().unwrap().passed;
        act();
        self.state.lock().unwrap().passed - before
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &Mutex<State>) {
    let mut buffer = [0; 4 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut state = state.lock().unwrap();
        if state.is_frozen {
            continue;
        }
        state.passed += read as u64;
        if let Some(left) = &mut state.left {
            *left = left.saturating_sub(read as u64);
            if *left == 0 {
                state.cut();
                break;
            }
        }
        // What is under way when the line is cut goes nowhere.
        let (ends, delay) = (state.ends.clone(), state.delay);
        drop(ends.wait_timeout_while(state, delay, |state| !state.is_cut).unwrap());
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
