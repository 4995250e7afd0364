//! What is moved out before its name is given on, where two names cannot be swapped.
//!
//! Holds: until the staged file has its place, the name of what is set aside is not its operation's: so it can be told
//! what had happened when a crash or an error ended the act.

use std::io;

use super::place::writable;
use crate::dataflow::model::path::RelPath;
use crate::sinks::stage::{OpId, Store};
use crate::sys::Root;

/// What became of something set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// There was nothing.
    Nothing,
    /// It has its name again: what was staged did not get it.
    Back,
    /// What was staged got the name; the old file is kept under the operation's.
    Replaced,
    /// Somebody else has the name, or its directory is gone; the old file is kept in the place of what was staged.
    Taken,
}

/// The name in the store of what an operation has set aside.
pub(super) fn aside_name(op: OpId) -> Vec<u8> {
    [&op.name()[..], b".old"].concat()
}

/// Ends what an act left half done: what it set aside goes back, or is kept if its name is taken by now.
///
/// # Errors
/// The kernel's; it may still be set aside.
pub fn finish_aside(root: &Root, store: &Store, op: OpId, path: &RelPath) -> io::Result<Aside> {
    let (dir, aside) = (store.dir(), aside_name(op));
    let Some(stat) = dir.stat(&aside)? else { return Ok(Aside::Nothing) };
    let is_staged = dir.stat(&op.name())?.is_some();
    let is_gone = |error: &io::Error| {
        matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
    };
    match root.open_parent(path) {
        Ok((parent, name)) => {
            let there = parent.stat(name.as_bytes())?;
            if there.is_some_and(|there| (there.dev, there.ino) == (stat.dev, stat.ino)) {
                // Moved by a second name and not yet rid of the first, or put back that far.
                dir.unlink(&aside)?;
                return Ok(Aside::Back);
            }
            // Once it was replaced, that the name is free is what somebody did since.
            if there.is_none() && is_staged {
                match writable(&parent, || dir.rename_new(&aside, &parent, name.as_bytes())) {
                    Ok(()) => return Ok(Aside::Back),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(error) if is_gone(&error) => {}
        Err(error) => return Err(error),
    }
    dir.rename_over(&aside, dir, &op.name())?;
    Ok(if is_staged { Aside::Taken } else { Aside::Replaced })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const OP: OpId = OpId(7);
    const STAGED: &str = ".yeet/s/0000000000000007";
    const ASIDE: &str = ".yeet/s/0000000000000007.old";

    /// Ends what was left with these files; what came of it, and what has the name and what is kept then.
    fn ended(left: &[(&str, &str)]) -> (Aside, Option<String>, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let store = Store::open(&root, "s").unwrap();
        for (name, text) in left {
            let at = dir.path().join(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        let path = RelPath::parse(b"d/a").unwrap();
        let aside = finish_aside(&root, &store, OP, &path).unwrap();
        assert!(!dir.path().join(ASIDE).exists());
        let read = |name: &str| fs::read_to_string(Path::new(dir.path()).join(name)).ok();
        (aside, read("d/a"), read(STAGED))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_was_set_aside_goes_back_as_long_as_nothing_took_its_name() {
        let left = [("d/b", ""), (ASIDE, "old"), (STAGED, "new")];
        assert_eq!(ended(&left), (Aside::Back, some("old"), some("new")));
    }

    #[test]
    fn a_name_that_somebody_took_is_left_to_him_and_the_old_file_is_kept() {
        let left = [("d/a", "his"), (ASIDE, "old"), (STAGED, "new")];
        assert_eq!(ended(&left), (Aside::Taken, some("his"), some("old")));
    }

    #[test]
    fn what_was_set_aside_in_a_directory_that_is_gone_is_kept() {
        let left = [(ASIDE, "old"), (STAGED, "new")];
        assert_eq!(ended(&left), (Aside::Taken, None, some("old")));
    }

    #[test]
    fn what_was_replaced_is_kept_whatever_its_name_has_now() {
        let left = [("d/a", "new"), (ASIDE, "old")];
        assert_eq!(ended(&left), (Aside::Replaced, some("new"), some("old")));
        let left = [("d/b", ""), (ASIDE, "old")];
        assert_eq!(ended(&left), (Aside::Replaced, None, some("old")));
    }

    #[test]
    fn a_second_name_for_what_still_has_its_first_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let store = Store::open(&root, "s").unwrap();
        fs::write(dir.path().join("a"), "old").unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join(ASIDE)).unwrap();
        let path = RelPath::parse(b"a").unwrap();
        assert_eq!(finish_aside(&root, &store, OP, &path).unwrap(), Aside::Back);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"old");
        assert!(!dir.path().join(ASIDE).exists());
    }

    #[test]
    fn where_nothing_was_set_aside_nothing_is_touched() {
        let left = [("d/a", "a"), (STAGED, "new")];
        assert_eq!(ended(&left), (Aside::Nothing, some("a"), some("new")));
    }
}
