//! Frames of the control socket: a whole connection, requests, and replies.
//!
//! The first byte says which. Lengths are made right for requests and replies, so that what is behind them is reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::dataflow::model::mode::Mode;
use yeet::dataflow::model::path::RelPath;
use yeet::dataflow::model::value::Digest;
use yeet::sources::control::wire::{
    Conflict, ConflictSide, Explanation, Failure, FailureKind, FileKind, FileStatus, Hello,
    Holding, LeafStatus, Listed, LogLine, NewLeaf, Outcome, Place, Progress, Reply, Request, State,
    SyncStatus, Target, VERSION, Version, Which, Winner, read_frame, write_frame,
};

/// A frame may take so much for each of its bytes: the smallest message in a list is a byte, and 48 in memory.
const GROWTH: usize = 128;
const ROOM: usize = 64 << 10;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind {
        0 => connection(data),
        1 => drop(message::<Request>(data).inspect(check_request)),
        _ => drop(message::<Reply>(data).inspect(|reply| paths_of(reply).for_each(fuzz::check_path))),
    }
});

/// As the daemon reads it.
fn connection(mut data: &[u8]) {
    let bytes = data.len() * GROWTH + ROOM;
    fuzz::within(bytes, || {
        if let Ok(Some(hello)) = read_frame::<Hello>(&mut data)
            && hello.version == VERSION
        {
            drop(read_frame::<Request>(&mut data));
        }
    });
}

fn message<T>(body: &[u8]) -> Option<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let frame = [&u32::try_from(body.len()).expect("short").to_le_bytes(), body].concat();
    let read = |frame: &[u8]| read_frame::<T>(&mut &frame[..]);
    let decoded = fuzz::within(body.len() * GROWTH + ROOM, || read(&frame)).ok()??;
    let mut again = Vec::new();
    write_frame(&mut again, &decoded).expect("what was read can be written");
    assert_eq!(read(&again).expect("a frame").as_ref(), Some(&decoded));
    let longer =
        [&u32::try_from(body.len() + 1).expect("short").to_le_bytes(), body, &[0]].concat();
    assert!(read(&longer).is_err(), "a byte too many is overlooked");
    Some(decoded)
}

fn check_request(request: &Request) {
    for target in request.clone().targets_mut() {
        if let Target::In { path, .. } | Target::Inside { path, .. } = target {
            fuzz::check_path(path);
        }
    }
}

fn paths_of(reply: &Reply) -> impl Iterator<Item = &RelPath> {
    let (one, acts) = match reply {
        Reply::FileStatus(FileStatus { path, .. })
        | Reply::SkippedPath { path, .. }
        | Reply::Conflict(Conflict { path, .. })
        | Reply::Resolved { path, .. }
        | Reply::Log(LogLine { path, .. })
        | Reply::Version(Version { path, .. }) => (Some(path), &[][..]),
        Reply::Explanation(Explanation { path, acts, .. }) => (Some(path), &acts[..]),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(acts.iter().map(|act| &act.path))
}

fn seeds() -> Vec<Vec<u8>> {
    let body = |kind: u8, frame: Vec<u8>| [&[kind], &frame[4..]].concat();
    let requests = requests().into_iter().map(|request| body(1, frame(&request)));
    let replies = replies().into_iter().map(|reply| body(2, frame(&reply)));
    let whole = [&[0][..], &frame(&Hello { version: VERSION }), &frame(&Request::List)].concat();
    requests.chain(replies).chain([whole]).collect()
}

fn frame<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, message).expect("memory takes all");
    bytes
}

fn s(text: &str) -> String {
    text.to_owned()
}

fn requests() -> Vec<Request> {
    let target = Target::In { sync: s("s"), path: fuzz::path(b"a/\xff\n") };
    let inside = Target::Inside { sync: None, path: fuzz::path(b"a") };
    let place = Place { host: Some(s("h")), path: b"/l".to_vec(), take_over: true };
    let leaves = vec![NewLeaf { place, name: Some(s("l")) }];
    let here = Target::Here { dir: b"/d".to_vec() };
    vec![
        Request::Add {
            name: Some(s("s")),
            mode: Some(Mode::Mirror),
            ignore: vec![s("*.o")],
            ignore_vcs: true,
            groups: vec![s("*.db *.db-wal")],
            ssh_only: true,
            source: Place { host: None, path: b"/s".to_vec(), take_over: false },
            leaves: leaves.clone(),
        },
        Request::AddTo { sync: s("s"), leaves },
        Request::Forget { sync: s("s"), leaf: Some(s("l")) },
        Request::Set { sync: s("s"), settings: vec![(s("mode"), s("mirror"))], force: true },
        Request::Move { sync: s("s"), replica: s("l"), path: b"/m".to_vec() },
        Request::Status { target: Target::All, leaf: None },
        Request::StatusFiles { target: Target::Sync(s("s")), leaf: Some(s("l")) },
        Request::Wait { target: here.clone(), leaf: None, offline: true },
        Request::Conflicts { target: Target::Path { sync: None, path: b"/s/a".to_vec() } },
        Request::Resolve {
            which: Which::Paths(vec![target.clone(), Target::All]),
            winner: Winner::Both(s("-x")),
            dry_run: true,
        },
        Request::Resolve {
            which: Which::Glob(here, s("*")),
            winner: Winner::With(b"/w".to_vec()),
            dry_run: false,
        },
        Request::Explain { target: target.clone() },
        Request::Log {
            target: target.clone(),
            act: Some(s("delete")),
            since_ms: Some(7),
            limit: Some(9),
            follow: true,
        },
        Request::Restore { target: target.clone(), version: Some(s("1")) },
        Request::Displaced { target: inside.clone(), version: None },
        Request::Resolve {
            which: Which::All(inside),
            winner: Winner::Content(b"new".to_vec()),
            dry_run: false,
        },
        Request::Bump { targets: vec![target, Target::All] },
        Request::Names { conflicts: true },
    ]
}

fn replies() -> Vec<Reply> {
    let path = fuzz::path(b"d/f");
    let digest = Some(Digest([7; 32]));
    let line = LogLine {
        when_ms: 7,
        name: s("s"),
        act: s("create"),
        replica: s("l"),
        old: None,
        new: digest,
        path: path.clone(),
        note: s("n"),
    };
    let side = ConflictSide { replica: s("l"), mtime: Some(-1), size: 9, digest, kind: s("file") };
    let holding = Holding {
        replica: s("l"),
        holds: s("file"),
        agreed: Some(s("nothing")),
        verdict: Some(s("v")),
        rule: Some(s("R1")),
        waits: Some(s("w")),
    };
    vec![
        Reply::Status(SyncStatus {
            name: s("s"),
            state: State::Held,
            files: 1,
            pending: 2,
            bytes: 3,
            conflicts: 4,
            problems: 5,
            held: 6,
        }),
        Reply::LeafStatus(LeafStatus {
            name: s("s"),
            leaf: s("l"),
            state: State::InSync,
            reason: s(""),
            pending: 1,
            bytes: 2,
            route: s("local"),
            rtt_ms: Some(3),
            agent: Some(s("/a/yeet-1")),
        }),
        Reply::FileStatus(FileStatus {
            name: s("s"),
            kind: FileKind::Sending,
            from: s("-"),
            to: s("l"),
            bytes: 1,
            why: s("w"),
            path: path.clone(),
        }),
        Reply::SkippedPath { name: s("s"), replica: s("l"), kind: s("fifo"), path: path.clone() },
        Reply::Progress(Progress { name: s("s"), scanning: true, ..Progress::default() }),
        Reply::Conflict(Conflict {
            name: s("s"),
            kind: s("edit"),
            path: path.clone(),
            sides: vec![side],
        }),
        Reply::Explanation(Explanation {
            name: s("s"),
            path: path.clone(),
            summary: s("x"),
            holdings: vec![holding],
            notes: vec![s("n")],
            acts: vec![line.clone()],
            commands: vec![s("yeet")],
        }),
        Reply::Bytes(b"bytes".to_vec()),
        Reply::Content { version: s("1"), mode: 0o640, is_symlink: false },
        Reply::Side { replica: s("l"), file: Some(b"/f".to_vec()), is_here: true },
        Reply::Log(line),
        Reply::Version(Version {
            name: s("s"),
            version: s("1"),
            when_ms: 1,
            replica: s("l"),
            size: 2,
            digest,
            why: s("replaced"),
            path,
        }),
        Reply::Listed(Listed {
            name: s("s"),
            mode: Mode::OneWay,
            state: State::Paused,
            replicas: vec![(s("l"), b"/l".to_vec())],
        }),
        Reply::Daemon { pid: 1, version: s("0"), syncs: 2, started_ms: 3 },
        Reply::Done(Outcome::NotWell),
        Reply::Failed(Failure { kind: FailureKind::Usage, message: s("m"), hint: Some(s("h")) }),
    ]
}
