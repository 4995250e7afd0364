//! The house rules no compiler checks: who may import whom, what is fenced where, how a file looks.
//!
//! Holds: every message names the place and says what to do instead. The rules are the tables below; they and
//! "Imports go one way" in `docs/design/architecture.md` change together.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

const PARTS: &[&str] = &["dataflow", "sys", "ssh", "ebpf", "sources", "sinks", "config", "places"];

/// What a part of `src` may import from yeet, beside itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("dataflow", &[]),
    ("sys", &["dataflow::model"]),
    ("ssh", &["dataflow::model", "sys"]),
    ("ebpf", &["dataflow::model", "sys"]),
    ("sources", &["dataflow::model", "sys", "ssh", "ebpf"]),
    ("sinks", &["dataflow::model", "sys", "ssh", "ebpf"]),
    ("config", &["dataflow::model", "ssh::destination", "ssh::route"]),
    ("places", &[]),
    ("service", PARTS),
    ("agent", PARTS),
    // The one-shot copy is the daemon's graph without the daemon.
    ("copy", &["service", "dataflow", "sys", "sources", "sinks", "ssh"]),
    (
        "cli",
        &[
            "service",
            "agent",
            "copy",
            "config",
            "places",
            "ssh",
            "sys",
            "sources::control",
            "dataflow::model",
        ],
    ),
    ("main", &["cli"]),
];

/// Words that may stand in these places only, and what to do elsewhere.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("timely::", &["dataflow/graph", "dataflow/engine"], ENGINE),
    ("differential_dataflow::", &["dataflow/graph", "dataflow/engine"], ENGINE),
    ("abomonation::", &["sources/stat_cache"], "use serde and postcard; see docs/design/0002"),
    ("redb::", &["sinks/journal"], "ask the journal"),
    ("russh::", &["ssh"], "ask a connection"),
    ("rustls::", &["ssh/socket"], "ask a connection"),
    (
        "allow(unsafe_code",
        &["sys", "ebpf", "sources/stat_cache"],
        "put the call behind a safe function in sys",
    ),
];
const ENGINE: &str = "ask the engine: only the graph and the engine know how it computes";

/// No io, no clock, no threads here (INV-9).
const PURE: &[&str] = &[
    "dataflow",
    "sinks/schedule",
    "sinks/far/wire",
    "sinks/journal/record",
    "sources/control/wire",
    "sources/far/page",
    "sources/far/pending",
    "sources/far/tell",
    "sources/far/wire",
    "sources/watch/settle",
    "ssh/bootstrap/probe",
    "ssh/destination",
    "ssh/hops",
    "ssh/known_hosts",
    "ssh/pattern",
    "ssh/place",
    "ssh/protocol",
    "ssh/route",
    "ssh/routes",
    "ssh/settings",
];
const IMPURE_STD: &[&str] = &["fs", "net", "env", "process", "thread", "os"];
const IMPURE: &[&str] = &[
    "tokio::",
    "rustix::",
    "libc::",
    "Instant::now",
    "SystemTime",
    "#![allow(clippy::disallowed_methods",
];

const NO_NAMES: &[&str] = &["utils", "util", "helpers", "common", "misc", "manager"];

/// Everything wrong with one file; `path` is relative to `src` (or to the package, for `tests`).
fn faults(path: &str, text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut out = shape(path, text);
    out.extend(edges(path, &code));
    if !is_test(path) {
        out.extend(fences(path, before_tests(&code)));
    }
    out
}

fn shape(path: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        out.push(format!(
            "{path}: {lines} lines of at most {LINES_MAX}; move one concept to a file with a name from the glossary"
        ));
    }
    if !text.starts_with("//!") {
        out.push(format!("{path}:1: no `//!` head; say what this is and what holds here"));
    }
    for name in path.trim_end_matches(".rs").split('/') {
        if NO_NAMES.contains(&name) {
            out.push(format!(
                "{path}: `{name}` names no concept; name the file after what it is about"
            ));
        }
    }
    out
}

fn edges(path: &str, code: &str) -> Vec<String> {
    let part = path.split('/').next().map_or("", |p| p.trim_end_matches(".rs"));
    if matches!(part, "lib" | "tests") {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == part) else {
        return vec![format!(
            "{path}: `{part}` is no part of yeet yet; add it to MAY_IMPORT here and to the map in architecture.md"
        )];
    };
    let mut out = Vec::new();
    let roots: &[&str] = if part == "main" { &["crate", "yeet"] } else { &["crate"] };
    for (line, target) in roots.iter().flat_map(|root| imports(code, root)) {
        let own = target.split("::").next() == Some(part);
        let listed = allowed.iter().any(|a| target == *a || target.starts_with(&format!("{a}::")));
        if !own && !listed {
            out.push(format!(
                "{path}:{line}: {part} must not import crate::{target} (only {allowed:?}); \
                 let the part above both wire them, or move the type to dataflow::model"
            ));
        }
    }
    let depth = path.trim_end_matches("/mod.rs").split('/').count();
    for (n, line) in code.lines().enumerate() {
        let path_of_use = line.split_once("use ").filter(|_| !line.starts_with(' '));
        if path_of_use.is_some_and(|(_, used)| used.starts_with(&"super::".repeat(depth))) {
            out.push(format!(
                "{path}:{}: leaves its part by `super`; write it as `crate::`",
                n + 1
            ));
        }
    }
    out
}

fn fences(path: &str, code: &str) -> Vec<String> {
    let mut out = Vec::new();
    let is_in = |places: &[&str]| {
        places.iter().any(|place| {
            path.strip_prefix(place).is_some_and(|rest| rest.starts_with(['/', '.', '_']))
        })
    };
    for (word, places, instead) in ONLY_IN {
        if !is_in(places) {
            out.extend(
                lines_with(code, word)
                    .map(|n| format!("{path}:{n}: `{word}` belongs to {places:?}; {instead}")),
            );
        }
    }
    if is_in(PURE) {
        let std = imports(code, "std").into_iter().filter(|(_, target)| {
            IMPURE_STD.contains(&target.split("::").next().unwrap_or_default())
        });
        let words = IMPURE
            .iter()
            .flat_map(|word| lines_with(code, word).map(move |n| (n, (*word).to_owned())));
        let words = words.filter(|(n, _)| !is_excused(code, *n));
        for (n, word) in std.map(|(n, t)| (n, format!("std::{t}"))).chain(words) {
            out.push(format!(
                "{path}:{n}: `{word}` in pure code (INV-9); take the value as an argument, or return what is to be done"
            ));
        }
    }
    out
}

/// Whether the statement on this line is exempt from the same fence in clippy, by an attribute of its own.
fn is_excused(code: &str, line: usize) -> bool {
    let above = code.lines().take(line - 1).skip(line.saturating_sub(6));
    above.map(str::trim_start).any(|l| {
        l.starts_with("clippy::disallowed_methods")
            || l.starts_with("#[allow(clippy::disallowed_methods")
    })
}

/// The first two segments of every path that begins with `root::`, groups opened, with its line.
fn imports(code: &str, root: &str) -> Vec<(usize, String)> {
    let mark = format!("{root}::");
    code.match_indices(&mark)
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c)))
        .flat_map(|(at, _)| {
            let line = code[..at].lines().count().max(1);
            targets(&code[at + mark.len()..], 2).into_iter().map(move |t| (line, t))
        })
        .collect()
}

fn targets(rest: &str, segments: usize) -> Vec<String> {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        return members(group).into_iter().flat_map(|m| targets(m, segments)).collect();
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    match tail.strip_prefix("::") {
        Some(tail) if segments > 1 => {
            targets(tail, segments - 1).into_iter().map(|t| format!("{head}::{t}")).collect()
        }
        Some(_) | None => vec![head.to_owned()],
    }
}

/// The members of a `use` group whose opening brace has been read.
fn members(group: &str) -> Vec<&str> {
    let (mut out, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth > 0 => {}
            ',' | '}' => {
                out.push(&group[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    out.retain(|member| !member.trim().is_empty());
    out
}

fn lines_with<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter_map(move |(n, line)| {
        let found = line.match_indices(word).any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c))
        });
        found.then_some(n + 1)
    })
}

fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| line.split_once("//").map_or(line, |(c, _)| c));
    code.collect::<Vec<_>>().join("\n")
}

/// A file's code without the test module at its end.
fn before_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests {").map_or(code, |at| &code[..at])
}

fn is_test(path: &str) -> bool {
    let stem = path.trim_end_matches(".rs");
    stem.split('/').any(|name| name == "tests") || stem.ends_with("_tests")
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            // What cargo-fuzz builds into unless told otherwise: generated code has no head.
            if !path.ends_with("fuzz/target") {
                rust_files(&path, out);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn every_file_keeps_the_house_rules() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&package.join("src"), &mut files);
    rust_files(&package.join("tests"), &mut files);
    assert!(!files.is_empty(), "no source file below {package:?}");
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(package).expect("below it");
        let name = name.strip_prefix("src").unwrap_or(name).to_string_lossy();
        let text = fs::read_to_string(&file).expect("source files are UTF-8");
        found.extend(faults(&name, &text));
    }
    found.sort();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Whether exactly one fault is found, and it says `word`.
fn check(path: &str, code: &str, word: &str) {
    let found = faults(path, &format!("//! Head.\n{code}\n"));
    assert!(found.len() == 1 && found[0].contains(word), "{path}: {code}: {found:?}");
}

fn passes(path: &str, code: &str) {
    let found = faults(path, &format!("//! Head.\n{code}\n"));
    assert!(found.is_empty(), "{path}: {code}: {found:?}");
}

#[test]
fn imports_against_the_current_are_named_with_their_line() {
    check("sources/scan.rs", "use crate::sinks::stage::Staged;", "sources/scan.rs:2");
    check("sinks/apply.rs", "fn f() { crate::sources::hash::file(); }", "crate::sources::hash");
    check("dataflow/engine/mod.rs", "use crate::sys::Root;", "crate::sys");
    check("sys/mod.rs", "use crate::dataflow::rules::decide;", "dataflow::rules");
    check("sinks/apply.rs", "use crate::dataflow::engine::Engine;", "dataflow::engine");
    check("cli/status.rs", "use crate::sinks::journal;", "crate::sinks");
    check("main.rs", "use yeet::service;", "crate::service");
    check(
        "sources/scan.rs",
        "use crate::{sys::Stat, dataflow::{model::path, query}};",
        "dataflow::query",
    );
    check("sinks/mod.rs", "use super::sources::scan;", "`super`");
    check("gadgets/mod.rs", "", "MAY_IMPORT");
}

#[test]
fn imports_with_the_current_pass() {
    passes("sources/scan.rs", "use crate::{dataflow::model::{fact::Fact, path::Name}, sys};");
    passes("sinks/journal/mod.rs", "use super::acting;");
    passes("service/actor.rs", "use crate::dataflow::engine::Engine;\nuse crate::sinks::apply;");
    passes("cli/status.rs", "use crate::sources::control::wire;");
    passes("dataflow/rules/pair.rs", "pub(in crate::dataflow) fn f() {} // crate::sinks");
}

#[test]
fn fenced_words_stay_behind_their_fence() {
    check("dataflow/query.rs", "use differential_dataflow::Data;", "ask the engine");
    check("service/mod.rs", "use redb::Database;", "ask the journal");
    check("sinks/stage.rs", "use abomonation::encode;", "0002");
    check("sinks/stage.rs", "#[allow(unsafe_code, reason = \"fast\")]", "sys");
    passes("dataflow/graph/mod.rs", "use timely::dataflow::Scope;");
    passes("sources/stat_cache/file.rs", "abomonation::measure(&x);");
}

#[test]
fn pure_code_does_no_io_and_reads_no_clock() {
    check("dataflow/engine/mod.rs", "use std::{fs, rc::Rc};", "std::fs");
    check("sinks/schedule.rs", "let now = Instant::now();", "as an argument");
    check("sources/watch/settle.rs", "use tokio::time;", "INV-9");
    passes("sinks/schedule.rs", "use std::time::{Duration, Instant};");
    passes("sinks/schedule.rs", "#[cfg(test)]\nmod tests {\nlet now = Instant::now();\n}");
    passes("sources/scan.rs", "use std::{fs, env};");
    passes(
        "dataflow/graph/mod.rs",
        "#[allow(clippy::disallowed_methods, reason = \"r\")]\nlet now = Instant::now();",
    );
    check("sinks/schedule.rs", "#![allow(clippy::disallowed_methods, reason = \"r\")]", "INV-9");
}

#[test]
fn a_file_has_a_head_a_speaking_name_and_few_lines() {
    assert!(faults("sources/scan.rs", "fn f() {}\n")[0].contains("no `//!` head"));
    check("sinks/utils.rs", "", "names no concept");
    check("sinks/helpers/bytes.rs", "", "names no concept");
    check("sinks/apply.rs", &"fn f() {}\n".repeat(600), "of at most 600");
}
