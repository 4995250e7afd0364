//! The end of a job that its act leaves as it is: looked at here, or told of by another machine.

use serde::{Deserialize, Serialize};

use super::check::present;
use super::error::{ApplyError, End};
use super::file::gone_or;
use super::part::Part;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{Digest, Value};
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};
use crate::sys::{Kind, Root, Stat};

/// What a mode can have.
const PERMISSIONS: u16 = 0o777;

/// The other end of a job.
#[derive(Clone, Copy)]
pub enum Other<'a> {
    Here(&'a Root),
    /// What it said when it was asked for this job.
    Said(&'a Said),
}

/// What an end says of a job's path, as far as the job is about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The job needs no word of it.
    Nothing,
    /// It lacks what is to go, and its root is in its place.
    Lacks,
    /// The mode of the directory that it has, if it has one.
    Dir(Option<u16>),
    /// The target of the symlink that it has.
    Symlink(Vec<u8>),
    /// The file that it has, and its bytes follow.
    File(Stat),
}

/// The bytes of a file that are told of by another machine.
pub trait Bytes {
    /// The next of them; none at their end.
    ///
    /// # Errors
    /// No more of them will come.
    fn next(&mut self) -> Result<&[u8], ApplyError>;

    /// Whether they can come from any byte on.
    fn can_go_on(&self) -> bool {
        false
    }

    /// Says what is there of them already; from which on they come, 0 if that is none of them.
    ///
    /// # Errors
    /// No more of them will come.
    fn go_on(&mut self, _part: Part) -> Result<u64, ApplyError> {
        Ok(0)
    }

    /// That they are not those that were announced, in `why`.
    fn belied(&self, _why: &str) -> ApplyError {
        ApplyError::Torn
    }

    /// Whether the file stayed the same while they were read, and what their digest was there.
    ///
    /// # Errors
    /// It did not, or they were not all read.
    fn end(&mut self) -> Result<Option<Digest>, ApplyError>;
}

impl<'a> From<&'a Root> for Other<'a> {
    fn from(root: &'a Root) -> Self {
        Other::Here(root)
    }
}

impl Other<'_> {
    /// Makes sure that it still lacks what is at `path`.
    pub(super) fn lacks(self, path: &RelPath) -> Result<(), ApplyError> {
        let because = match self {
            Self::Here(because) => because,
            Self::Said(Said::Lacks) => return Ok(()),
            Self::Said(_) => return Err(ApplyError::Stale(End::From)),
        };
        let again =
            present(because, path).map_err(ApplyError::io("look at the other side once more"))?;
        #[cfg(test)]
        let again = again && !has(Fault::ReasonUnchecked);
        match again || !because.still_there() {
            true => Err(ApplyError::Stale(End::From)),
            false => Ok(()),
        }
    }

    /// The mode of the directory that it has, if it has one.
    pub(super) fn dir_mode(self, path: &RelPath) -> Result<Option<u16>, ApplyError> {
        match self {
            Self::Here(root) => {
                let stat = root.stat(path).map_err(gone_or("look at the directory"))?;
                Ok(stat.filter(|stat| stat.kind == Kind::Dir).map(|stat| stat.mode))
            }
            Self::Said(Said::Dir(mode)) => Ok(mode.map(|mode| mode & PERMISSIONS)),
            Self::Said(_) => Err(ApplyError::Stale(End::From)),
        }
    }

    /// The target of the symlink that it has.
    pub(super) fn symlink(self, path: &RelPath) -> Result<Vec<u8>, ApplyError> {
        match self {
            Self::Here(root) => {
                let opened = root.open_parent(path);
                let (dir, name) = opened.map_err(gone_or("open the directory it is in"))?;
                dir.readlink(name.as_bytes()).map_err(gone_or("read the symlink"))
            }
            Self::Said(Said::Symlink(text)) => Ok(text.clone()),
            Self::Said(_) => Err(ApplyError::Stale(End::From)),
        }
    }
}

/// What a root says to another machine that it lacks `path`.
///
/// # Errors
/// It has it, it cannot be told, or the root is not in its place.
pub fn say_lacks(root: &Root, path: &RelPath) -> Result<Said, ApplyError> {
    Other::Here(root).lacks(path).map(|()| Said::Lacks)
}

/// What a root says to another machine of the directory or the symlink at `path`.
///
/// # Errors
/// It cannot be told.
pub fn say_entry(root: &Root, path: &RelPath, new: &Value) -> Result<Said, ApplyError> {
    match new {
        Value::Dir { .. } => Other::Here(root).dir_mode(path).map(Said::Dir),
        Value::Symlink { .. } => Other::Here(root).symlink(path).map(Said::Symlink),
        Value::File(_)
        | Value::Ignored
        | Value::Skipped(_)
        | Value::Unreadable { .. }
        | Value::Remnant => Err(ApplyError::Stale(End::From)),
    }
}
