//! Notices that the network is another one, and that the machine was asleep.
//!
//! Holds: whoever waits sleeps in the kernel until something happens, without a deadline (INV-8).

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR` and `_IPV6_ROUTE` of rtnetlink(7).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// What belongs together comes together: so long nothing more happens.
const CALM: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// The most that is looked at of a table of routes, in bytes.
const TABLE_MAX: u64 = 1 << 20;
/// Later than any clock of this machine shows.
const NEVER_S: i64 = 1 << 40;

/// Waits for another network.
pub struct Network {
    /// `None` where the system tells nobody.
    changes: Option<OwnedFd>,
    /// Cancelled when the clock is set, which is done when the machine wakes up.
    clock: Option<OwnedFd>,
    known: Vec<u8>,
}

impl Network {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system tells nothing at all.
    pub fn listen() -> io::Result<Self> {
        let (changes, clock) = (changes(), clock());
        match (&changes, &clock) {
            (Err(error), Err(_)) => Err((*error).into()),
            _ => Ok(Self { changes: changes.ok(), clock: clock.ok(), known: as_it_is() }),
        }
    }

    /// Comes back when the network is another one than it was, or the machine was asleep.
    ///
    /// # Errors
    /// The system's.
    pub fn changed(&mut self) -> io::Result<()> {
        loop {
            self.wait(None)?;
            if self.has_slept() {
                self.known = as_it_is();
                return Ok(());
            }
            while self.wait(Some(&CALM))? {
                self.take();
            }
            let now = as_it_is();
            if std::mem::replace(&mut self.known, now) != self.known {
                return Ok(());
            }
        }
    }

    /// Whether something happened before the time was up.
    fn wait(&self, time: Option<&Timespec>) -> io::Result<bool> {
        let fds = [&self.changes, &self.clock];
        let mut fds: Vec<PollFd<'_>> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        loop {
            match poll(&mut fds, time) {
                Err(rustix::io::Errno::INTR) => {}
                polled => return Ok(polled? > 0),
            }
        }
    }

    /// Takes in what the system says; what counts is how it is afterwards.
    fn take(&self) {
        let mut said = [0; 8192];
        while let Some(changes) = &self.changes {
            // Messages that were lost for want of room are news as well.
            let taken = recv(changes, &mut said[..], RecvFlags::DONTWAIT);
            if !matches!(taken, Ok(_) | Err(rustix::io::Errno::NOBUFS)) {
                return;
            }
        }
    }

    fn has_slept(&self) -> bool {
        let Some(clock) = &self.clock else { return false };
        let mut expired = [0; 8];
        let is_set = rustix::io::read(clock, &mut expired) == Err(rustix::io::Errno::CANCELED);
        is_set && arm(clock).is_ok()
    }
}

fn changes() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

fn clock() -> rustix::io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let clock = timerfd_create(TimerfdClockId::Realtime, flags)?;
    arm(&clock)?;
    Ok(clock)
}

fn arm(clock: &impl AsFd) -> rustix::io::Result<()> {
    let never = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: NEVER_S, tv_nsec: 0 },
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(clock, flags, &never).map(drop)
}

/// Addresses, routes and which links are up: what decides whether a host is reached as before. Renewals of addresses, and
/// what a radio says of itself, leave it as it is.
fn as_it_is() -> Vec<u8> {
    let mut all = Vec::new();
    for file in ["/proc/net/route", "/proc/net/fib_trie", "/proc/net/if_inet6"] {
        // Where there is no such thing it does not change either.
        let Ok(file) = std::fs::File::open(file) else { continue };
        file.take(TABLE_MAX).read_to_end(&mut all).unwrap_or_default();
    }
    let links = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut states: Vec<Vec<u8>> = links
        .map(|link| {
            let state = std::fs::read(link.path().join("operstate")).unwrap_or_default();
            [link.file_name().as_encoded_bytes(), &state].concat()
        })
        .collect();
    states.sort();
    all.extend(states.concat());
    all
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the child that has a network of its own.
    const INSIDE: &str = "YEET_TEST_NETWORK";

    fn ip(words: &str) {
        let done = Command::new("ip").args(words.split(' ')).status().unwrap();
        assert!(done.success(), "ip {words}");
    }

    #[test]
    fn another_link_and_another_address_are_noticed() {
        if std::env::var_os(INSIDE).is_some() {
            return notices();
        }
        let test = "sys::network::tests::another_link_and_another_address_are_noticed";
        let mut child = Command::new("unshare");
        child.arg("-n").arg(std::env::current_exe().unwrap()).args(["--exact", test]);
        let can = Command::new("unshare").args(["-n", "ip", "link"]).output();
        if !can.is_ok_and(|can| can.status.success()) {
            return; // It may make no networks, or has no program to change them.
        }
        let out = child.env(INSIDE, "1").output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }

    fn notices() {
        let mut network = Network::listen().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || while network.changed().is_ok() && tell.send(()).is_ok() {});
        let noticed = || told.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        ip("link set lo up");
        noticed();
        ip("addr add 10.9.0.1/24 dev lo");
        noticed();
        ip("addr del 10.9.0.1/24 dev lo");
        noticed();
    }
}
