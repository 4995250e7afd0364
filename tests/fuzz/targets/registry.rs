//! The records of the registry: the syncs this user has.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use yeet::dataflow::model::mode::Mode;
use yeet::dataflow::model::replica::{Replica, ReplicaSet};
use yeet::sinks::journal::record::encode;
use yeet::sinks::journal::registry::{ReplicaRecord, SyncRecord};
use yeet::sys::Identity;

/// A replica takes 112 bytes in memory and seven or more here, but `serde` makes room for one a byte, up to 1 MiB.
const GROWTH: usize = 128;
const ROOM: usize = 16 << 10;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let bytes = data.len() * GROWTH + ROOM;
    let Ok(sync) = fuzz::within(bytes, || SyncRecord::read(data)) else { return };
    assert_eq!(SyncRecord::read(&encode(&sync)).as_ref(), Ok(&sync));
    // What was written before there were groups, hosts or sockets is today's form without its last bytes, which say that there are
    // none.
    for zeros in 1..=3 {
        let longer = SyncRecord::read(&[data, &[0; 3][..zeros]].concat());
        assert!(longer.is_err() || longer.as_ref() == Ok(&sync), "{zeros} bytes are overlooked");
    }
    assert!(SyncRecord::read(&[data, &[0; 4]].concat()).is_err(), "four bytes are overlooked");
    // It names a directory in every root, and a file beside the registry.
    fuzz::check_path(&fuzz::path(sync.name.as_bytes()));
    assert!(!sync.name.is_empty() && !sync.name.contains('/') && !sync.name.starts_with('.'));
    assert!(sync.replicas.first().is_some_and(|source| source.replica.is_source()));
    let slots: BTreeSet<Replica> = sync.replicas.iter().map(|replica| replica.replica).collect();
    assert_eq!(slots.len(), sync.replicas.len(), "two replicas of one number");
    assert!(sync.used.contains_all(sync.leaves()), "a slot in use is not said to be");
    assert!(sync.replicas.iter().all(|replica| replica.path.is_absolute()));
    assert!(sync.free_slot().is_none_or(|slot| sync.replica(slot).is_none()));
});

fn seeds() -> Vec<Vec<u8>> {
    let replica = |replica, name: &str, identity| ReplicaRecord {
        replica,
        name: name.to_owned(),
        path: format!("/home/{name}").into(),
        identity,
    };
    let known = Identity { dev: 7, ino: 9, birth: Some(-1), id: Some([5; 16]) };
    let leaves = ReplicaSet::of(&[fuzz::leaf()]);
    let sync = |name: &str, mode, ignore: Vec<String>, replicas| SyncRecord {
        name: name.to_owned(),
        mode,
        ignore,
        ignore_vcs: true,
        keep_age_s: 1 << 20,
        keep_size: 1 << 40,
        paused: false,
        replicas,
        used: leaves,
        held: leaves,
        groups: vec![vec!["*.db".into(), "*.db-wal".into()]],
        hosts: vec![(Replica::SOURCE, "me@nas".into())],
        ssh_only: true,
    };
    let source = || replica(Replica::SOURCE, "source", known);
    let leaf = || replica(fuzz::leaf(), "leaf", Identity::default());
    [
        sync("photos", Mode::TwoWay, vec!["*.o".into(), "/build/".into()], vec![source(), leaf()]),
        sync("a.b-c_d+e", Mode::Mirror, Vec::new(), vec![source()]),
    ]
    .iter()
    .map(encode)
    .collect()
}
