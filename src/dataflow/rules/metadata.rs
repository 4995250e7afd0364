//! Mode and mtime: merged apart from the content, never a conflict (R5).
//!
//! Holds: each is decided three-way against the agreed value where that is of the same kind. Changed on both sides: the
//! newer mtime, the source's mode. In the one-way modes the source's stand. Directories have a mode only.

use super::pair::{Pair, Ruling, same_kind};
use crate::dataflow::model::value::{File, Value};
use crate::dataflow::model::verdict::Rule;

/// Both hold the same content: what is left to merge, to record, or nothing.
///
/// A merge that differs from both goes to the leaf first; the next look sees it flow to the source.
pub(super) fn ruling(pair: &Pair<'_>, source: &Value, leaf: &Value) -> Option<Ruling> {
    let (for_source, for_leaf) = if pair.policy.mode.is_two_way() {
        let agreed = pair.agreed.filter(|agreed| same_kind(agreed, source));
        merged(source, leaf, agreed.as_ref())
    } else {
        (*source, like(leaf, source))
    };
    if for_leaf != *leaf {
        return Some(pair.put_leaf(for_leaf, rule(pair, source, leaf)));
    }
    if for_source != *source {
        return Some(pair.put_source(for_source, rule(pair, source, leaf)));
    }
    // Not equal here means that times are trusted: nobody knows what could be recorded.
    let settled = source != leaf || pair.agreed == Some(*source);
    (!settled).then(|| Ruling::agree(Some(*source), Rule::SameOnBoth))
}

/// The content and mtime of the side that changed its content, with the mode of both.
pub(super) fn combined(pair: &Pair<'_>, edited: &Value) -> Value {
    match (pair.source, pair.leaf, edited) {
        (Some(Value::File(source)), Some(Value::File(leaf)), Value::File(edited)) => {
            let agreed = pair.agreed.as_ref().and_then(file);
            Value::File(File {
                mode: mode(source.mode, leaf.mode, agreed.map(|file| file.mode)),
                ..*edited
            })
        }
        _ => *edited,
    }
}

/// The first of several leaves' values for the source, which have the same content, with the mode and mtime of all.
///
/// Of what differs from the source's: the newest mtime, the smallest mode, whichever leaf has it.
pub(super) fn of_several(source: Option<&Value>, news: &[Value]) -> Option<Value> {
    let first = news.first()?;
    let modes = news.iter().filter_map(mode_of);
    let mode = modes.filter(|mode| source.and_then(mode_of) != Some(*mode)).min();
    let mtimes = news.iter().filter_map(file).map(|file| file.mtime);
    let mtime =
        mtimes.filter(|mtime| source.and_then(file).map(|file| file.mtime) != Some(*mtime)).max();
    Some(match first {
        Value::File(first) => Value::File(File {
            mode: mode.unwrap_or(first.mode),
            mtime: mtime.unwrap_or(first.mtime),
            ..*first
        }),
        Value::Dir { mode: first } => Value::Dir { mode: mode.unwrap_or(*first) },
        Value::Symlink { .. }
        | Value::Ignored
        | Value::Skipped(_)
        | Value::Unreadable { .. }
        | Value::Remnant => *first,
    })
}

/// Both values with the merged mode and mtime, each with its own content.
fn merged(source: &Value, leaf: &Value, agreed: Option<&Value>) -> (Value, Value) {
    match (source, leaf) {
        (Value::File(s), Value::File(l)) => {
            let agreed = agreed.and_then(file);
            let mode = mode(s.mode, l.mode, agreed.map(|file| file.mode));
            let mtime = mtime(s.mtime, l.mtime, agreed.map(|file| file.mtime));
            let of = |file: &File| Value::File(File { mode, mtime, ..*file });
            (of(s), of(l))
        }
        (Value::Dir { mode: s }, Value::Dir { mode: l }) => {
            let mode = mode(*s, *l, agreed.and_then(mode_of));
            (Value::Dir { mode }, Value::Dir { mode })
        }
        _ => (*source, *leaf),
    }
}

/// `place` with the mode and mtime of `model`, which has the same content.
fn like(place: &Value, model: &Value) -> Value {
    match (place, model) {
        (Value::File(place), Value::File(model)) => {
            Value::File(File { content: place.content, ..*model })
        }
        _ => *model,
    }
}

fn file(value: &Value) -> Option<&File> {
    if let Value::File(file) = value { Some(file) } else { None }
}

fn mode_of(value: &Value) -> Option<u16> {
    match value {
        Value::File(file) => Some(file.mode),
        Value::Dir { mode } => Some(*mode),
        Value::Symlink { .. }
        | Value::Ignored
        | Value::Skipped(_)
        | Value::Unreadable { .. }
        | Value::Remnant => None,
    }
}

fn mode(source: u16, leaf: u16, agreed: Option<u16>) -> u16 {
    if agreed == Some(source) { leaf } else { source }
}

fn mtime(source: i64, leaf: i64, agreed: Option<i64>) -> i64 {
    match agreed {
        Some(agreed) if agreed == source => leaf,
        Some(agreed) if agreed == leaf => source,
        _ => source.max(leaf),
    }
}

fn rule(pair: &Pair<'_>, source: &Value, leaf: &Value) -> Rule {
    let one_way = !pair.policy.mode.is_two_way();
    match pair.agreed {
        Some(agreed) if agreed == *leaf => Rule::SourceChanged,
        Some(agreed) if agreed == *source && one_way => Rule::LeafUndone,
        Some(agreed) if agreed == *source => Rule::LeafChanged,
        _ => Rule::MetadataMerged,
    }
}
