//! What a sync's journal stores: agreed values, intents, kept versions, lines of the log. The first byte says which.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::dataflow::model::replica::Replica;
use yeet::dataflow::model::value::{Content, Digest, File, Special, Value};
use yeet::sinks::journal::record::{
    Intent, IntentKind, Kept, LogRecord, decode, decode_value, encode, encode_value,
};

const GROWTH: usize = 8;
const ROOM: usize = 4 << 10;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind {
        0 => value(data),
        1 => drop(record::<Intent>(data).inspect(|intent| {
            fuzz::check_path(&intent.path);
            intent.old.iter().chain(&intent.new).for_each(check_value);
        })),
        2 => drop(record::<Kept>(data).inspect(|kept| {
            fuzz::check_path(&kept.path);
            check_value(&kept.value);
        })),
        _ => drop(record::<LogRecord>(data).inspect(|line| fuzz::check_path(&line.path))),
    }
});

fn value(data: &[u8]) {
    if let Ok(value) = fuzz::within(ROOM, || decode_value(data)) {
        check_value(&value);
        assert_eq!(encode_value(&value).as_deref(), Some(data));
    }
}

fn record<T>(data: &[u8]) -> Option<T>
where
    T: serde::Serialize + for<'de> serde::Deserialize<'de> + PartialEq + std::fmt::Debug,
{
    let record: T = fuzz::within(data.len() * GROWTH + ROOM, || decode(data)).ok()?;
    assert_eq!(decode::<T>(&encode(&record)).as_ref(), Ok(&record));
    assert!(decode::<T>(&[data, &[0]].concat()).is_err(), "a byte too many is overlooked");
    Some(record)
}

/// A mode has permission bits alone: what is restored never becomes set-uid.
fn check_value(value: &Value) {
    let mode = match value {
        Value::File(file) => file.mode,
        Value::Dir { mode } => *mode,
        _ => 0,
    };
    assert!(mode <= 0o777, "mode {mode:o}");
}

fn seeds() -> Vec<Vec<u8>> {
    let file = |content| Value::File(File { size: 9, mtime: -7, content, mode: 0o644 });
    let read = file(Content::known(Digest([7; 32])));
    let values = [
        read,
        file(Content::unread(9)),
        Value::Dir { mode: 0o755 },
        Value::Symlink { target: Digest([1; 32]), len: 300 },
        Value::Remnant,
        Value::Ignored,
        Value::Skipped(Special::Mount),
        Value::Unreadable { errno: 13 },
    ];
    let agreed = values.iter().filter_map(encode_value).map(|bytes| [&[0], &bytes[..]].concat());
    let intents = values.iter().map(|value| Intent {
        kind: IntentKind::Put,
        replica: fuzz::leaf(),
        leaf: fuzz::leaf(),
        path: fuzz::path(b"dir/a\xff"),
        old: Some(*value),
        new: Some(read),
        boot: [3; 16],
    });
    let kept = values.iter().map(|value| Kept {
        path: fuzz::path(b"dir/b"),
        replica: Replica::SOURCE,
        when_ms: 1 << 40,
        value: *value,
        why: "replaced".into(),
    });
    let line = LogRecord {
        when_ms: 1 << 40,
        act: "create".into(),
        replica: fuzz::leaf(),
        path: fuzz::path(b"c"),
        old: Some(Digest([1; 32])),
        new: None,
        note: "why".into(),
    };
    let intents = intents.map(|intent| [&[1], &encode(&intent)[..]].concat());
    let kept = kept.map(|kept| [&[2], &encode(&kept)[..]].concat());
    agreed.chain(intents).chain(kept).chain([[&[3], &encode(&line)[..]].concat()]).collect()
}
