//! The store in a real file: what was acknowledged is there after any end.

use super::record::IntentKind;
use super::*;
use crate::dataflow::model::value::{Content, File};

fn path(text: &[u8]) -> RelPath {
    RelPath::parse(text).expect("a good path")
}

fn leaf() -> Replica {
    Replica::leaf(1).expect("slot 1 is a leaf")
}

fn value(n: u8) -> Value {
    let content = Content::known(Digest([n; 32]));
    Value::File(File { size: 5, mtime: -7, content, mode: 0o644 })
}

fn agreed(at: &[u8], n: u8) -> Change {
    Change::Agreed { leaf: leaf(), path: path(at), value: Some(value(n)) }
}

fn agreed_in(journal: &Journal, dir: &[u8]) -> Vec<Vec<u8>> {
    let facts = journal.facts_in(&path(dir), ReplicaSet::of(&[leaf()])).expect("readable");
    facts
        .into_iter()
        .map(|fact| match fact {
            Fact::Agreed { path, .. } => path.as_bytes().to_vec(),
            other => panic!("{other:?} was never stored"),
        })
        .collect()
}

#[test]
fn a_directorys_children_come_back_and_nobody_elses() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let journal = Journal::open(&dir.path().join("s.redb")).expect("a fresh store");
    let odd = b"d/\xff\nodd".to_vec();
    let all = [
        agreed(b"top", 1),
        agreed(b"d/a", 2),
        agreed(&odd, 3),
        agreed(b"d/e/deep", 4),
        agreed(b"da", 5),
    ];
    journal.commit(all.to_vec()).expect("writable");
    assert_eq!(agreed_in(&journal, b"d"), [b"d/a".to_vec(), odd]);
    assert_eq!(agreed_in(&journal, b""), [b"da".to_vec(), b"top".to_vec()]);
    journal
        .commit(vec![Change::Agreed { leaf: leaf(), path: path(b"d/a"), value: None }])
        .expect("writable");
    assert_eq!(agreed_in(&journal, b"d").len(), 1);
    journal.commit(vec![Change::DropReplica(leaf())]).expect("writable");
    assert_eq!(journal.agreed_count().expect("readable"), 0);
}

#[test]
fn what_was_announced_for_a_leaf_that_is_gone_is_settled_as_after_a_power_loss() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let journal = Journal::open(&dir.path().join("s.redb")).expect("a fresh store");
    let intent = |leaf| Intent {
        kind: IntentKind::Put,
        replica: Replica::SOURCE,
        leaf,
        path: path(b"b"),
        old: None,
        new: Some(value(2)),
        boot: [1; 16],
    };
    let other = Replica::leaf(2).expect("slot 2 is a leaf");
    let announced = [(7, intent(leaf())), (8, intent(other))];
    let changes = announced.map(|(op, intent)| Change::Intent { op, intent });
    journal.commit(changes.to_vec()).expect("writable");
    journal.commit(vec![Change::DropReplica(leaf())]).expect("writable");
    let stranger = Intent { boot: [0; 16], ..intent(leaf()) };
    assert_eq!(journal.intents().expect("readable"), [(7, stranger), (8, intent(other))]);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let store = dir.path().join("s.redb");
    let journal = Journal::open(&store).expect("a fresh store");
    journal.commit(vec![agreed(b"a", 1)]).expect("writable");
    let intent = Intent {
        kind: IntentKind::Put,
        replica: leaf(),
        leaf: leaf(),
        path: path(b"b"),
        old: None,
        new: Some(value(2)),
        boot: [1; 16],
    };
    journal.commit(vec![Change::Intent { op: 7, intent: intent.clone() }]).expect("writable");
    // What a killed process leaves is the file as it is now.
    let copy = dir.path().join("copy.redb");
    std::fs::copy(&store, &copy).expect("a copy");
    let (after, notice) = Journal::open_or_set_aside(&copy).expect("it opens");
    assert_eq!(notice, None);
    assert_eq!(agreed_in(&after, b""), [b"a".to_vec()]);
    assert_eq!(after.intents().expect("readable"), [(7, intent)]);
}

#[test]
fn the_past_of_a_path_holds_sixteen_contents_and_the_newest_ones() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let journal = Journal::open(&dir.path().join("s.redb")).expect("a fresh store");
    let past = |n| Change::Past { path: path(b"a"), digest: Digest([n; 32]) };
    journal.commit((0..20).chain([19, 19]).map(past).collect()).expect("writable");
    let facts = journal.facts_in(&RelPath::root(), ReplicaSet::EMPTY).expect("readable");
    assert_eq!(facts.len(), 16);
    assert_eq!(facts[15], Fact::Past { path: path(b"a"), digest: Digest([19; 32]) });
}

#[test]
fn the_past_of_a_name_that_is_gone_can_be_forgotten() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let journal = Journal::open(&dir.path().join("s.redb")).expect("a fresh store");
    let past = |name| Change::Past { path: path(name), digest: Digest([1; 32]) };
    journal.commit(vec![past(b"a"), past(b"b"), past(b"a/b")]).expect("writable");
    let forget = |name| Change::NoPast { path: path(name) };
    journal.commit(vec![forget(b"a"), forget(b"c")]).expect("writable");
    let facts = |dir| journal.facts_in(&dir, ReplicaSet::EMPTY).expect("readable");
    assert_eq!(facts(RelPath::root()), [Fact::Past { path: path(b"b"), digest: Digest([1; 32]) }]);
    assert_eq!(facts(path(b"a")).len(), 1);
}

#[test]
fn a_damaged_store_is_set_aside_with_a_word_and_never_deleted() {
    let dir = tempfile::tempdir().expect("a temp dir");
    for (round, damage) in [0usize, 100, 4096, 9000].into_iter().enumerate() {
        let store = dir.path().join(format!("s{round}.redb"));
        Journal::open(&store)
            .expect("a fresh store")
            .commit(vec![agreed(b"a", 1)])
            .expect("writable");
        let mut bytes = std::fs::read(&store).expect("there");
        if damage == 0 {
            bytes.truncate(10);
        } else {
            bytes.iter_mut().skip(damage - 100).step_by(3).for_each(|b| *b = !*b);
        }
        std::fs::write(&store, &bytes).expect("writable");
        let (journal, notice) = Journal::open_or_set_aside(&store).expect("a fresh one is made");
        assert!(notice.is_some_and(|n| n.contains("corrupt-0")), "damage at {damage}");
        journal.commit(vec![agreed(b"b", 2)]).expect("the fresh one works");
        assert!(dir.path().join(format!("s{round}.redb.corrupt-0")).exists());
    }
}

#[test]
fn the_log_answers_by_path_act_and_time_newest_first() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let journal = Journal::open(&dir.path().join("s.redb")).expect("a fresh store");
    let line = |when_ms, act: &str, at: &[u8]| {
        Change::Log(LogRecord {
            when_ms,
            act: act.into(),
            replica: leaf(),
            path: path(at),
            old: None,
            new: None,
            note: String::new(),
        })
    };
    let lines = vec![line(1, "create", b"d/a"), line(2, "delete", b"d/a"), line(3, "create", b"b")];
    journal.commit(lines).expect("writable");
    let ask = |filter: LogFilter| {
        let lines = journal.log(&filter, 10).expect("readable");
        lines.into_iter().map(|(_, line)| line.when_ms).collect::<Vec<_>>()
    };
    assert_eq!(ask(LogFilter::default()), [3, 2, 1]);
    assert_eq!(ask(LogFilter { within: path(b"d"), ..LogFilter::default() }), [2, 1]);
    assert_eq!(
        ask(LogFilter { within: path(b"d"), exactly: true, ..LogFilter::default() }),
        [0; 0]
    );
    assert_eq!(ask(LogFilter { act: Some("delete".into()), ..LogFilter::default() }), [2]);
    assert_eq!(ask(LogFilter { since_ms: 2, ..LogFilter::default() }), [3, 2]);
    assert_eq!(ask(LogFilter { after: 2, ..LogFilter::default() }), [3]);
}

#[test]
fn a_store_in_use_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let store = dir.path().join("s.redb");
    let _journal = Journal::open(&store).expect("a fresh store");
    assert!(Journal::open_or_set_aside(&store).is_err());
    assert!(store.exists());
}

#[test]
fn kept_versions_are_found_by_path_and_below_a_directory() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let journal = Journal::open(&dir.path().join("s.redb")).expect("a fresh store");
    let kept = |op, at: &[u8]| Change::Kept {
        op,
        kept: Kept {
            path: path(at),
            replica: leaf(),
            when_ms: op,
            value: value(1),
            why: "replaced".into(),
        },
    };
    journal
        .commit(vec![kept(1, b"d/a"), kept(2, b"d/a"), kept(3, b"da"), kept(4, b"d/b")])
        .expect("writable");
    let ops = |at: &[u8]| {
        journal.kept(&path(at)).expect("readable").into_iter().map(|(op, _)| op).collect::<Vec<_>>()
    };
    assert_eq!(ops(b"d"), [1, 2, 4]);
    assert_eq!(ops(b"d/a"), [1, 2]);
    assert_eq!(ops(b""), [1, 2, 4, 3]);
    journal.commit(vec![Change::Purged { op: 1, path: path(b"d/a") }]).expect("writable");
    assert_eq!(ops(b"d/a"), [2]);
}
