//! The brake: a mass delete waits for a word.
//!
//! Pure: time is an argument. One [`Brake`] a replica. A *burst* begins with a delete and ends when none is
//! outstanding and none was seen for [`QUIET_END`]. The first [`FLOW`] of a burst are carried out; from then on
//! deletes wait until the burst has stopped growing for [`QUIET`]. If it then is more than half of the files the
//! replica had when it began, it is held until the user allows or denies it, else it flows. An emptied root that had
//! [`EMPTIED_FILES`] files or more is held at once. Holds: at most [`FLOW`] deletes of a held burst were carried out.

use std::time::{Duration, Instant};

/// Deletes of a burst that flow whatever comes.
pub const FLOW: u64 = 1000;
/// A root that had this many files and has none is held.
pub const EMPTIED_FILES: u64 = 10;
/// A burst that is this long without a new delete has its size.
pub const QUIET: Duration = Duration::from_secs(2);
/// A burst is over when nothing is outstanding and no delete came for this long.
pub const QUIET_END: Duration = Duration::from_secs(10);

/// How many deletes may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// All of them.
    Free,
    /// This many more; the burst is young.
    Budget(u64),
    /// None until the burst is quiet.
    Wait,
    /// None until the user says so.
    Held,
}

struct Burst {
    files_at_start: u64,
    carried_out: u64,
    last_seen: Instant,
    released: bool,
}

/// The brake of one replica.
#[derive(Default)]
pub struct Brake {
    burst: Option<Burst>,
    outstanding: u64,
    held: bool,
    /// Deletes the user let through, and that were not carried out since.
    allowed: u64,
    /// Deletes that somebody is carrying out, those of directories too.
    under_way: u64,
}

impl Brake {
    /// A brake that was held when the daemon ended.
    #[must_use]
    pub fn latched(held: bool) -> Self {
        Self { held, ..Self::default() }
    }

    /// After an epoch: how many delete verdicts are outstanding, how many of them came since the last call, and how many
    /// files the replica holds.
    ///
    /// `known`: no delete can still come of what has not been listed, or read. Before that, no outstanding delete does not
    /// end a hold.
    pub fn observe(
        &mut self,
        now: Instant,
        (outstanding, came): (u64, u64),
        files: u64,
        known: bool,
    ) {
        if came > 0 || outstanding > self.outstanding {
            let burst = self.burst.get_or_insert(Burst {
                files_at_start: files,
                carried_out: 0,
                last_seen: now,
                released: false,
            });
            burst.last_seen = now;
            if burst.released {
                // More came after it was judged: it is judged again.
                burst.released = false;
            }
        }
        self.outstanding = outstanding;
        // What is under way may have been seen to be gone, with its report still to come: that takes from both.
        self.allowed = self.allowed.min(outstanding + self.under_way);
        if outstanding == 0 {
            self.held &= !known;
            if known && self.burst.as_ref().is_some_and(|b| now >= b.last_seen + QUIET_END) {
                self.burst = None;
            }
        } else if self.is_quiet(now) {
            self.judge();
        }
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.burst.as_ref().is_some_and(|burst| now >= burst.last_seen + QUIET)
    }

    fn judge(&mut self) {
        let Some(burst) = &mut self.burst else { return };
        let size = self.outstanding + burst.carried_out;
        if size <= FLOW || burst.released || self.held {
            return;
        }
        if size * 2 > burst.files_at_start && self.outstanding > self.allowed {
            self.held = true;
        } else {
            burst.released = true;
        }
    }

    /// The root was listed and is empty, though the replica had `files` files.
    pub fn emptied(&mut self, now: Instant, files: u64) {
        if files >= EMPTIED_FILES && !self.held {
            self.held = true;
            self.burst.get_or_insert(Burst {
                files_at_start: files,
                carried_out: 0,
                last_seen: now,
                released: false,
            });
        }
    }

    /// Deletes were handed out.
    pub fn started(&mut self, deletes: u64) {
        self.under_way += deletes;
    }

    /// One that was handed out came back, carried out or not.
    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Deletes of files were carried out.
    pub fn carried_out(&mut self, deletes: u64) {
        self.allowed = self.allowed.saturating_sub(deletes);
        if let Some(burst) = &mut self.burst {
            burst.carried_out += deletes;
        }
    }

    /// How many deletes of the present burst were carried out.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.burst.as_ref().map_or(0, |burst| burst.carried_out)
    }

    /// How many deletes may go at `now`.
    #[must_use]
    pub fn flow(&self, now: Instant) -> Flow {
        if self.allowed > 0 {
            return Flow::Budget(self.allowed);
        }
        if self.held {
            return Flow::Held;
        }
        let Some(burst) = &self.burst else {
            return Flow::Free;
        };
        if burst.released {
            return Flow::Free;
        }
        match FLOW.saturating_sub(burst.carried_out) {
            0 if now >= burst.last_seen + QUIET => Flow::Free,
            0 => Flow::Wait,
            budget => Flow::Budget(budget),
        }
    }

    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held && self.allowed == 0
    }

    /// The user lets through what is outstanding now; how many deletes that are.
    pub fn allow(&mut self) -> u64 {
        if !self.is_held() {
            return 0;
        }
        self.held = false;
        self.allowed = self.outstanding;
        self.allowed
    }

    /// The user takes the deletes back: they are about to be no verdicts any more.
    pub fn deny(&mut self) {
        self.held = false;
        self.burst = None;
    }

    /// When [`Self::observe`] has something to decide again.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let burst = self.burst.as_ref()?;
        if self.outstanding == 0 {
            // What follows from the deletes, as that of directories, may wait for the quiet.
            let quiet = (self.flow(now) == Flow::Wait).then_some(burst.last_seen + QUIET);
            let end = burst.last_seen + QUIET_END;
            return quiet.into_iter().chain([end]).find(|at| *at > now);
        }
        let undecided = !self.held && !burst.released && self.allowed == 0;
        let large = self.outstanding + burst.carried_out > FLOW;
        let at = burst.last_seen + QUIET;
        (undecided && large && at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_small_delete_flows() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.observe(now, (900, 0), 1000, true);
        assert_eq!(brake.flow(now), Flow::Budget(1000));
        brake.carried_out(900);
        brake.observe(now, (0, 0), 100, true);
        brake.observe(now + QUIET_END, (0, 0), 100, true);
        assert_eq!(brake.flow(now + QUIET_END), Flow::Free);
        assert_eq!(brake.next_deadline(now + QUIET_END), None, "at rest there is no timer");
    }

    #[test]
    fn what_follows_from_a_thousand_deletes_waits_for_the_quiet_and_no_longer() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.observe(now, (FLOW, FLOW), 10_000, true);
        brake.carried_out(FLOW);
        brake.observe(now + ms(1), (0, 0), 9_000, true);
        assert_eq!(brake.flow(now + ms(1)), Flow::Wait);
        assert_eq!(brake.next_deadline(now + ms(1)), Some(now + QUIET));
        assert_eq!(brake.flow(now + QUIET), Flow::Free);
        assert_eq!(brake.next_deadline(now + QUIET), Some(now + QUIET_END));
    }

    #[test]
    fn of_a_mass_delete_a_thousand_flow_and_the_rest_is_held_once_it_is_quiet() {
        let (mut brake, start) = (Brake::default(), Instant::now());
        let mut done = 0;
        for step in 0..200u64 {
            let now = start + ms(step * 10);
            brake.observe(now, ((step + 1) * 100 - done, 0), 20_000 - done, true);
            if let Flow::Budget(budget) = brake.flow(now) {
                let go = budget.min((step + 1) * 100 - done);
                brake.carried_out(go);
                done += go;
                brake.observe(now, ((step + 1) * 100 - done, 0), 20_000 - done, true);
            }
        }
        assert_eq!(done, 1000);
        let end = start + ms(1990);
        assert_eq!(brake.flow(end), Flow::Wait);
        assert_eq!(brake.next_deadline(end), Some(end + QUIET));
        brake.observe(end + QUIET, (19_000, 0), 19_000, true);
        assert_eq!(brake.flow(end + QUIET), Flow::Held);
        assert_eq!(brake.next_deadline(end + QUIET), None);
        assert_eq!(brake.allow(), 19_000);
        assert_eq!(brake.flow(end + QUIET), Flow::Budget(19_000));
        assert_eq!(brake.allow(), 0, "there is nothing more to allow");
    }

    #[test]
    fn a_large_delete_that_is_less_than_half_flows_once_it_is_quiet() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.observe(now, (5000, 0), 20_000, true);
        brake.carried_out(1000);
        brake.observe(now, (4000, 0), 19_000, true);
        assert_eq!(brake.flow(now), Flow::Wait);
        brake.observe(now + QUIET, (4000, 0), 19_000, true);
        assert_eq!(brake.flow(now + QUIET), Flow::Free);
    }

    #[test]
    fn an_emptied_root_is_held_at_once_and_the_hold_goes_with_its_deletes() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.emptied(now, 9);
        assert!(!brake.is_held());
        brake.emptied(now, 10);
        brake.observe(now, (10, 0), 0, true);
        assert!(brake.is_held());
        brake.observe(now, (0, 0), 10, true);
        assert!(!brake.is_held());
    }

    #[test]
    fn exactly_what_was_outstanding_is_allowed() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.emptied(now, 5000);
        brake.observe(now, (3000, 0), 0, true);
        assert_eq!(brake.allow(), 3000);
        brake.carried_out(3000);
        brake.observe(now, (1500, 0), 0, true);
        assert_eq!(brake.flow(now), Flow::Wait, "what came later is judged by itself");
        brake.observe(now + QUIET, (1500, 0), 0, true);
        assert_eq!(brake.flow(now + QUIET), Flow::Held);
    }

    #[test]
    fn a_delete_that_is_seen_before_it_is_reported_is_counted_once() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.emptied(now, 5000);
        brake.observe(now, (3000, 0), 0, true);
        assert_eq!(brake.allow(), 3000);
        for gone in (100..3000).step_by(100) {
            brake.started(100);
            brake.observe(now, (3000 - gone, 0), 0, true);
            brake.carried_out(100);
            (0..100).for_each(|_| brake.ended());
            brake.observe(now, (3000 - gone, 0), 0, true);
            assert_eq!(brake.flow(now), Flow::Budget(3000 - gone));
        }
        brake.started(100);
        (0..100).for_each(|_| brake.ended());
        brake.observe(now, (40, 0), 0, true);
        assert_eq!(brake.flow(now), Flow::Budget(40), "what is no longer wanted is not allowed");
    }

    #[test]
    fn deletes_that_come_while_as_many_go_keep_the_burst_alive() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.observe(now, (3000, 3000), 4000, true);
        brake.carried_out(1000);
        let later = now + QUIET - ms(1);
        brake.observe(later, (3000, 1000), 3000, true);
        assert_eq!(brake.flow(now + QUIET), Flow::Wait, "it was not quiet");
        assert_eq!(brake.next_deadline(later), Some(later + QUIET));
    }

    #[test]
    fn a_burst_does_not_end_while_a_side_is_not_listed() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        brake.observe(now, (1000, 1000), 2000, true);
        brake.carried_out(1000);
        brake.observe(now + QUIET_END, (0, 0), 1000, false);
        brake.observe(now + QUIET_END, (500, 500), 1000, true);
        assert_eq!(brake.flow(now + QUIET_END), Flow::Wait);
    }

    #[test]
    fn a_latched_hold_survives_a_restart_while_its_deletes_do() {
        let (mut brake, now) = (Brake::latched(true), Instant::now());
        brake.observe(now, (0, 0), 0, false);
        assert_eq!(brake.flow(now), Flow::Held, "nothing is listed yet");
        brake.observe(now, (2000, 0), 10, true);
        assert_eq!(brake.flow(now), Flow::Held);
        brake.observe(now, (0, 0), 10, true);
        assert!(!brake.is_held());
    }
}
