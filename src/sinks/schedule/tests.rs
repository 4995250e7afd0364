//! The order of jobs, by example and by chance.

use proptest::prelude::*;

use super::*;

const GATE: Gate = Gate { replica: Replica::SOURCE, leaf: Replica::SOURCE, kind: Kind::Put };
const DELETES: Gate = Gate { replica: Replica::SOURCE, leaf: Replica::SOURCE, kind: Kind::Delete };

fn item(bytes: u64, live: bool) -> Item {
    Item { gate: GATE, bytes, live }
}

fn all(_: Gate, _: bool) -> usize {
    usize::MAX
}

fn next(schedule: &mut Schedule<u32>, now: Instant) -> Option<u32> {
    let batch = schedule.next(now, 1, all)?;
    assert_eq!(batch.keys.len(), 1);
    Some(batch.keys[0])
}

#[test]
fn small_goes_before_large_and_live_before_backlog_of_its_class() {
    let (mut schedule, now) = (Schedule::new(8), Instant::now());
    schedule.add(1, item(1 << 30, true));
    schedule.add(2, item(1000, false));
    schedule.add(3, item(100, false));
    schedule.add(4, item(2000, true));
    schedule.add(5, item(0, false));
    assert_eq!(schedule.position(2), Some(1));
    assert_eq!(next(&mut schedule, now), Some(4));
    assert_eq!(next(&mut schedule, now), Some(1), "the large one has its share");
    assert_eq!(next(&mut schedule, now), Some(2));
    assert_eq!(next(&mut schedule, now), Some(3));
    assert_eq!(next(&mut schedule, now), Some(5), "the first file does not wait for directories");
    assert_eq!(next(&mut schedule, now), None);
}

#[test]
fn what_was_interrupted_is_due_at_once_and_the_next_time_after_a_pause() {
    let (mut schedule, now) = (Schedule::new(8), Instant::now());
    schedule.add(1, item(10, false));
    assert_eq!(next(&mut schedule, now), Some(1));
    schedule.interrupted(1, item(10, false), now);
    assert_eq!(next(&mut schedule, now), Some(1));
    schedule.interrupted(1, item(10, false), now);
    assert_eq!(next(&mut schedule, now), None);
    assert_eq!(schedule.delayed(1), Some((now + 2 * RETRY_FIRST, 2)));
    assert_eq!(next(&mut schedule, now + 2 * RETRY_FIRST), Some(1));
    schedule.forget(1);
    schedule.interrupted(1, item(10, false), now);
    assert_eq!(next(&mut schedule, now), Some(1), "it had succeeded meanwhile");
}

#[test]
fn a_stream_of_small_live_edits_starves_nothing() {
    let (mut schedule, now) = (Schedule::new(2), Instant::now());
    let old = [item(900_000, false), item(0, false), item(10, false), item(900_000, true)];
    for (key, item) in (0..).zip(old) {
        schedule.add(key, item);
    }
    let mut waited = Vec::new();
    for round in 0..200 {
        schedule.add(1000 + round, item(10, true));
        let batch = schedule.next(now, 1, all).unwrap();
        if batch.keys[0] < 1000 {
            waited.push(batch.keys[0]);
        }
        schedule.batch_done(batch.large);
    }
    assert_eq!(waited, [0, 1, 2, 3], "by age");
}

#[test]
fn large_jobs_never_take_the_last_slot() {
    let (mut schedule, now) = (Schedule::new(3), Instant::now());
    for key in 0..5 {
        schedule.add(key, item(1 << 40, false));
    }
    assert_eq!(next(&mut schedule, now), Some(0));
    assert_eq!(next(&mut schedule, now), Some(1));
    assert_eq!(next(&mut schedule, now), None);
    schedule.add(9, item(10, true));
    assert_eq!(next(&mut schedule, now), Some(9), "a small one goes at once");
    schedule.batch_done(true);
    assert_eq!(next(&mut schedule, now), None, "the last slot is for the next small one");
    schedule.batch_done(false);
    assert_eq!(next(&mut schedule, now), Some(2));
}

#[test]
fn beside_middling_jobs_a_second_large_one_leaves_the_last_slot_to_a_small_one() {
    let (mut schedule, now) = (Schedule::new(4), Instant::now());
    for key in 0..2 {
        schedule.add(key, item(1 << 20, false));
    }
    for key in 10..12 {
        schedule.add(key, item(1 << 40, false));
    }
    assert_eq!(next(&mut schedule, now), Some(0));
    assert_eq!(next(&mut schedule, now), Some(10), "the large ones' share");
    assert_eq!(next(&mut schedule, now), Some(1));
    assert_eq!(next(&mut schedule, now), None);
    schedule.add(9, item(10, true));
    assert_eq!(next(&mut schedule, now), Some(9), "a small one goes at once");
}

#[test]
fn what_the_user_bumps_goes_first() {
    let (mut schedule, now) = (Schedule::new(2), Instant::now());
    schedule.add(1, item(10, true));
    schedule.add(2, item(1 << 30, false));
    assert!(schedule.bump(2));
    assert!(!schedule.bump(7));
    assert_eq!(next(&mut schedule, now), Some(2));
}

#[test]
fn a_closed_gate_parks_its_jobs_and_an_open_one_limits_them() {
    let (mut schedule, now) = (Schedule::new(4), Instant::now());
    for key in 0..10 {
        schedule.add(key, Item { gate: DELETES, bytes: 0, live: true });
    }
    schedule.add(99, item(1 << 20, false));
    let closed = |gate: Gate, _: bool| if gate == DELETES { 0 } else { usize::MAX };
    assert_eq!(schedule.next(now, 64, closed).map(|b| b.keys), Some(vec![99]));
    assert_eq!(schedule.next(now, 64, closed), None);
    assert!(!schedule.has_runnable(|gate| closed(gate, false)));
    let batch = schedule.next(now, 64, |_, _| 3).expect("three may go");
    assert_eq!(batch.keys, [0, 1, 2]);
}

#[test]
fn a_failure_waits_twice_as_long_each_time_and_a_new_row_goes_at_once() {
    let (mut schedule, now) = (Schedule::new(2), Instant::now());
    schedule.add(1, item(10, true));
    assert_eq!(next(&mut schedule, now), Some(1));
    schedule.batch_done(false);
    schedule.failed(1, item(10, true), now);
    assert_eq!(next(&mut schedule, now), None);
    assert_eq!(schedule.next_deadline(), Some(now + RETRY_FIRST));
    let later = now + RETRY_FIRST;
    assert_eq!(next(&mut schedule, later), Some(1));
    schedule.batch_done(false);
    schedule.failed(1, item(10, true), later);
    assert_eq!(schedule.delayed(1), Some((later + 2 * RETRY_FIRST, 2)));
    schedule.add(1, item(10, true));
    assert_eq!(schedule.next_deadline(), None);
    assert_eq!(next(&mut schedule, later), Some(1));
}

#[test]
fn what_is_put_off_is_due_when_it_was_said_and_a_new_row_goes_at_once() {
    let (mut schedule, now) = (Schedule::new(2), Instant::now());
    let until = now + Duration::from_secs(7);
    schedule.add_later(1, item(10, true), until);
    assert_eq!(schedule.delayed(1), Some((until, 0)));
    assert_eq!(next(&mut schedule, now), None);
    assert_eq!(next(&mut schedule, until), Some(1));
    schedule.batch_done(false);
    schedule.add_later(1, item(10, true), until);
    schedule.add(1, item(10, true));
    assert_eq!(schedule.next_deadline(), None);
    assert_eq!(next(&mut schedule, now), Some(1));
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, u64, bool, bool),
    Cancel(u32),
    Bump(u32),
    Next(usize),
    Done,
    Fail(u32),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u32..20, 0u32..40, any::<bool>(), any::<bool>())
            .prop_map(|(key, bits, live, del)| Step::Add(key, (1u64 << bits) - 1, live, del)),
        1 => (0u32..20).prop_map(Step::Cancel),
        1 => (0u32..20).prop_map(Step::Bump),
        4 => (1usize..5).prop_map(Step::Next),
        3 => Just(Step::Done),
        1 => (0u32..20).prop_map(Step::Fail),
        1 => (0u64..5000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn every_job_is_handed_out_once_or_cancelled_and_nothing_starves(steps in steps()) {
        let mut schedule = Schedule::new(3);
        let mut now = Instant::now();
        let mut waiting = BTreeMap::new();
        let mut running: Vec<Batch<u32>> = Vec::new();
        for step in steps {
            match step {
                Step::Add(key, bytes, live, delete) => {
                    let gate = if delete { DELETES } else { GATE };
                    let item = Item { gate, bytes, live };
                    schedule.add(key, item);
                    waiting.insert(key, item);
                }
                Step::Cancel(key) => {
                    prop_assert_eq!(schedule.cancel(key), waiting.remove(&key).is_some());
                }
                Step::Bump(key) => prop_assert_eq!(schedule.bump(key), waiting.contains_key(&key)),
                Step::Next(max) => {
                    let runnable = schedule.has_runnable(|gate| all(gate, false));
                    let batch = schedule.next(now, max, all);
                    if batch.is_none() && runnable {
                        let large = running.iter().filter(|b| b.large).count();
                        let left_to_small = large >= 1 && running.len() == 2;
                        prop_assert!(running.len() == 3 || left_to_small, "idle slots are used");
                    }
                    if let Some(batch) = batch {
                        prop_assert!(batch.keys.len() <= max);
                        for key in &batch.keys {
                            let item = waiting.remove(key);
                            prop_assert_eq!(item.map(|i| i.gate), Some(batch.gate));
                        }
                        running.push(batch);
                        let large = running.iter().filter(|b| b.large).count();
                        prop_assert!(running.len() <= 3 && large <= 2);
                    }
                }
                Step::Done => {
                    if let Some(batch) = running.pop() {
                        schedule.batch_done(batch.large);
                    }
                }
                Step::Fail(key) => {
                    waiting.entry(key).or_insert_with(|| {
                        schedule.failed(key, item(1, true), now);
                        item(1, true)
                    });
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
            prop_assert_eq!(schedule.len(), waiting.len());
        }
        now += RETRY_MAX;
        for batch in running.drain(..) {
            schedule.batch_done(batch.large);
        }
        while let Some(batch) = schedule.next(now, 2, all) {
            for key in &batch.keys {
                prop_assert!(waiting.remove(key).is_some());
            }
            schedule.batch_done(batch.large);
        }
        prop_assert!(waiting.is_empty(), "left behind: {waiting:?}");
    }
}
