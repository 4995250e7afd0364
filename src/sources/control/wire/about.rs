//! What a request is about.

use super::{Request, Target, Which};

impl Request {
    /// What it is about, in its order, to be changed; nothing where it names a sync, or is about the daemon.
    pub fn targets_mut(&mut self) -> Vec<&mut Target> {
        match self {
            Self::Status { target, .. }
            | Self::StatusLeaves { target, .. }
            | Self::StatusFiles { target, .. }
            | Self::StatusSkipped { target }
            | Self::Wait { target, .. }
            | Self::Conflicts { target }
            | Self::Explain { target }
            | Self::Cat { target, .. }
            | Self::Sides { target }
            | Self::Log { target, .. }
            | Self::Versions { target }
            | Self::Restore { target, .. }
            | Self::Displaced { target, .. }
            | Self::Resolve { which: Which::All(target) | Which::Glob(target, _), .. } => {
                vec![target]
            }
            Self::Resolve { which: Which::Paths(targets), .. } | Self::Bump { targets } => {
                targets.iter_mut().collect()
            }
            Self::Add { .. }
            | Self::AddTo { .. }
            | Self::Forget { .. }
            | Self::Set { .. }
            | Self::Move { .. }
            | Self::List
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Allow { .. }
            | Self::Deny { .. }
            | Self::DaemonStatus
            | Self::DaemonStop
            | Self::Names { .. }
            | Self::Ways { .. }
            | Self::NewWays { .. } => Vec::new(),
        }
    }
}
