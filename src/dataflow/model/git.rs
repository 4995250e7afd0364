//! What a path is to the git repository it belongs to, by its name alone.
//!
//! Holds: whoever carries things over in the order of [`Step`], a later one only when nothing earlier is left, never
//! has a repository on the other side that names an object it does not have. What is being made, git's locks and
//! temporary files, is no part of a repository.

use super::path::RelPath;

/// The name of a repository inside a work tree.
pub const REPOSITORY: &[u8] = b".git";

/// What one part of a repository rests on comes before it; what is to go, goes in the reverse order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Objects and packs, and what nothing rests on: the configuration, hooks.
    Objects,
    /// What makes a pack's objects be found.
    PackIndexes,
    /// All refs in one file, and the boundary of a shallow clone.
    PackedRefs,
    Refs,
    Logs,
    /// What names refs and objects: `HEAD`, its kin, and the notes of a rebase or a merge under way.
    Heads,
    Index,
}

const PARTS: u8 = 7;

/// When something may be carried over: after everything of an earlier step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u8);

impl Step {
    pub const FIRST: Self = Self(0);

    /// When something of this part comes.
    #[must_use]
    pub fn coming(part: Part) -> Self {
        Self(part as u8)
    }

    /// When something of this part goes.
    #[must_use]
    pub fn going(part: Part) -> Self {
        Self(2 * PARTS - 1 - part as u8)
    }

    /// Whether something goes in this step.
    #[must_use]
    pub fn is_going(self) -> bool {
        self.0 >= PARTS
    }

    /// Whether this step has to wait for all that comes of a part.
    #[must_use]
    pub fn is_after(self, part: Part) -> bool {
        self > Self::coming(part)
    }
}

/// The repository a path is in, as the number of components that name it, and what part of it the path is; `None` for
/// what is in none, and for the repository's own directory.
#[must_use]
pub fn part_of(path: &RelPath) -> Option<(usize, Part)> {
    let at = path.components().position(|name| name == REPOSITORY)?;
    let inside: Vec<&[u8]> = path.components().skip(at + 1).collect();
    let (first, rest) = inside.split_first()?;
    // A submodule's repository, and what a second work tree has of its own, look the same one or more names deeper.
    let inner = matches!(*first, b"modules" | b"worktrees");
    let inside = match rest.iter().position(|name| is_known(name)) {
        Some(at) if inner => &rest[at..],
        None if inner && !rest.is_empty() => &rest[rest.len() - 1..],
        Some(_) | None => &inside[..],
    };
    Some((at + 1, part(inside)))
}

fn is_known(name: &[u8]) -> bool {
    matches!(
        name,
        b"objects"
            | b"refs"
            | b"reftable"
            | b"logs"
            | b"packed-refs"
            | b"shallow"
            | b"HEAD"
            | b"index"
            | b"config"
            | b"hooks"
            | b"info"
    )
}

fn part(inside: &[&[u8]]) -> Part {
    match inside {
        [b"objects", b"pack", name] if name.ends_with(b".idx") => Part::PackIndexes,
        [b"objects", b"pack", name] if name.starts_with(b"multi-pack-index") => Part::PackIndexes,
        [b"objects", b"info", name, ..] if name.starts_with(b"commit-graph") => Part::PackIndexes,
        [b"objects" | b"config" | b"config.worktree" | b"description" | b"hooks" | b"info", ..] => {
            Part::Objects
        }
        [b"packed-refs" | b"shallow"] => Part::PackedRefs,
        // The list of its tables is what makes them count.
        [b"reftable", name] if *name != b"tables.list" => Part::PackedRefs,
        [b"refs" | b"reftable", ..] => Part::Refs,
        [b"logs", ..] => Part::Logs,
        [b"index"] => Part::Index,
        _ => Part::Heads,
    }
}

/// Whether a path is an index: the list of what the next commit will hold.
#[must_use]
pub fn is_index(path: &RelPath) -> bool {
    part_of(path).is_some_and(|(_, part)| part == Part::Index)
}

/// Whether `name` in `dir` is git at work, and the pattern that says so.
#[must_use]
pub fn transient(dir: &RelPath, name: &[u8]) -> Option<&'static str> {
    if !dir.components().any(|name| name == REPOSITORY) {
        return None;
    }
    if name.ends_with(b".lock") {
        return Some("*.lock");
    }
    if name == b"gc.pid" {
        return Some("gc.pid");
    }
    let in_objects = dir.components().any(|name| name == b"objects");
    let known: [(&[u8], &str); 3] = [
        (b"tmp_", "objects/**/tmp_*"),
        (b".tmp-", "objects/**/.tmp-*"),
        (b"incoming-", "objects/incoming-*"),
    ];
    let found = known.iter().find(|(start, _)| in_objects && name.starts_with(start));
    found.map(|(_, pattern)| *pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a good path")
    }

    #[test]
    fn every_file_of_a_repository_has_its_part() {
        let parts = [
            ("objects/ab/cdef", Part::Objects),
            ("objects/info/alternates", Part::Objects),
            ("objects/pack/pack-1.pack", Part::Objects),
            ("objects/pack/pack-1.idx", Part::PackIndexes),
            ("objects/pack/multi-pack-index", Part::PackIndexes),
            ("objects/info/commit-graphs/commit-graph-chain", Part::PackIndexes),
            ("config", Part::Objects),
            ("hooks/pre-commit", Part::Objects),
            ("info/exclude", Part::Objects),
            ("packed-refs", Part::PackedRefs),
            ("shallow", Part::PackedRefs),
            ("refs/heads/main", Part::Refs),
            ("refs/heads/index", Part::Refs),
            ("reftable/0x1-0x2.ref", Part::PackedRefs),
            ("reftable/tables.list", Part::Refs),
            ("logs/HEAD", Part::Logs),
            ("HEAD", Part::Heads),
            ("MERGE_HEAD", Part::Heads),
            ("rebase-merge/git-rebase-todo", Part::Heads),
            ("index", Part::Index),
            ("worktrees/w/HEAD", Part::Heads),
            ("worktrees/w/gitdir", Part::Heads),
            ("worktrees/w/index", Part::Index),
            ("worktrees/w/logs/HEAD", Part::Logs),
            ("modules/a/b/objects/ab/cdef", Part::Objects),
            ("modules/a/b/refs/heads/main", Part::Refs),
            ("modules/a/b/HEAD", Part::Heads),
        ];
        for (inside, part) in parts {
            assert_eq!(part_of(&path(&format!(".git/{inside}"))), Some((1, part)), "{inside}");
            assert_eq!(part_of(&path(&format!("a/b/.git/{inside}"))), Some((3, part)), "{inside}");
        }
        for outside in ["a/b", ".git", "a/.git", "objects/ab/cdef", ".gitignore", "x.git/HEAD"] {
            assert_eq!(part_of(&path(outside)), None, "{outside}");
        }
    }

    #[test]
    fn what_comes_comes_before_what_rests_on_it_and_what_goes_goes_after_it() {
        let parts = [
            Part::Objects,
            Part::PackIndexes,
            Part::PackedRefs,
            Part::Refs,
            Part::Logs,
            Part::Heads,
            Part::Index,
        ];
        let steps: Vec<Step> = (parts.iter().map(|part| Step::coming(*part)))
            .chain(parts.iter().rev().map(|part| Step::going(*part)))
            .collect();
        assert!(steps.is_sorted_by(|a, b| a < b));
        assert_eq!(steps[0], Step::FIRST);
        assert_eq!(steps.iter().filter(|step| step.is_going()).count(), parts.len());
        assert!(Step::coming(Part::Refs).is_after(Part::Objects));
        assert!(!Step::coming(Part::Refs).is_after(Part::Refs));
    }

    #[test]
    fn locks_and_temporary_files_of_git_are_transient_and_nothing_else_is() {
        let is = |dir: &str, name: &str| transient(&path(dir), name.as_bytes()).is_some();
        assert!(is(".git", "index.lock"));
        assert!(is("a/.git/refs/heads", "main.lock"));
        assert!(is(".git/objects/ab", "tmp_obj_x1"));
        assert!(is(".git/objects", "tmp_objdir-incoming-x1"));
        assert!(is(".git/objects/pack", ".tmp-77-pack-ab.idx"));
        assert!(!is("a", "Cargo.lock"));
        assert!(!is(".git/refs/heads", "tmp_branch"));
        assert!(!is(".git", "index"));
    }
}
