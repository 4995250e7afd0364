//! What sources, journal and user tell the engine: the only way in.
//!
//! Holds: facts are absolute and idempotent ("replica r holds X at p"), so a doubled, lost or reordered one changes
//! when the engine knows something, never what (INV-12).

use serde::{Deserialize, Serialize};

use super::path::{Name, RelPath};
use super::replica::Replica;
use super::value::{Digest, Value};

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A directory's children, all of them, ignored and skipped ones included. What is not named is asserted absent.
    Listed { replica: Replica, dir: RelPath, children: Vec<(Name, Value)> },
    /// One path was looked at; `None` asserts that it is absent.
    Holds { replica: Replica, path: RelPath, value: Option<Value> },
    /// Nothing is known any more about what is missing at or below `dir`: an overflow, an error, a lost peer.
    Unlisted { replica: Replica, dir: RelPath },
    /// Source and leaf held this value at once, durably; `None`: nothing is agreed, or its absence is.
    Agreed { leaf: Replica, path: RelPath, value: Option<Value> },
    /// The source once held this content.
    Past { path: RelPath, digest: Digest },
    /// The content of this digest says the same as every other content of this meaning, whatever their bytes.
    Means { digest: Digest, meaning: Digest },
    /// By the user's word this replica's present content gives way at this path; `None` takes the word back.
    Yields { replica: Replica, path: RelPath, value: Option<Value> },
}
