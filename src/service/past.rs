//! Answers about what was: the log, displaced versions and their return.

use crate::dataflow::model::path::RelPath;
use crate::service::Daemon;
use crate::service::actor::Actor;
use crate::service::answer::{Answer, ended, gone, well};
use crate::service::target::cannot;
use crate::sinks::journal::LogFilter;
use crate::sinks::journal::record::Kept;
use crate::sources::control::socket::Replies;
use crate::sources::control::wire::{Outcome, Reply, Target, Version};

/// The most lines one `log` answers with.
const LOG_LINES_MAX: usize = 1_000_000;

impl Daemon {
    pub(super) fn log(
        &self,
        target: &Target,
        act: Option<String>,
        since_ms: Option<u64>,
        limit: Option<u64>,
        follow: bool,
        replies: &Replies,
    ) -> Answer {
        let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(LOG_LINES_MAX);
        let scopes = self.scopes(target)?;
        let mut after = vec![0; scopes.len()];
        let mut first = true;
        loop {
            let mut lines = Vec::new();
            for (scope, after) in scopes.iter().zip(&mut after) {
                let filter = LogFilter {
                    exactly: false,
                    within: scope.path.clone(),
                    act: act.clone(),
                    since_ms: since_ms.unwrap_or(0),
                    after: *after,
                };
                let asked = scope.handle.ask(move |actor| {
                    let Some(journal) = &actor.shop.journal else { return Ok(Vec::new()) };
                    // Lines that are on their way to the store belong to the answer.
                    journal.barrier().map_err(|error| error.to_string())?;
                    let lines = journal.log(&filter, limit).map_err(|error| error.to_string())?;
                    Ok(lines.into_iter().map(|(seq, l)| (seq, actor.log_line(l))).collect())
                });
                let found: Vec<_> =
                    asked.ok_or_else(ended)?.map_err(|error: String| cannot(error, None))?;
                *after = found.first().map_or(*after, |(seq, _)| seq + 1);
                lines.extend(found.into_iter().map(|(_, line)| line));
            }
            lines.sort_by_key(|line| line.when_ms);
            let surplus = lines.len().saturating_sub(limit);
            for line in lines.drain(if first { surplus } else { 0 }..) {
                replies.send(&Reply::Log(line)).map_err(gone)?;
            }
            if !follow {
                return Ok(Outcome::Well);
            }
            first = false;
            if replies.wait_gone(std::time::Duration::from_millis(250)) {
                return Ok(Outcome::Well);
            }
        }
    }

    pub(super) fn versions(&self, target: &Target, replies: &Replies) -> Answer {
        let mut rows: Vec<Version> = Vec::new();
        for scope in self.scopes(target)? {
            let path = scope.path.clone();
            let asked = scope.handle.ask_flushed(move |actor| actor.versions(&path));
            rows.extend(asked.ok_or_else(ended)?.map_err(|error| cannot(error, None))?);
        }
        rows.sort_by(|a, b| (b.when_ms, &b.version).cmp(&(a.when_ms, &a.version)));
        let some = !rows.is_empty();
        for row in rows {
            replies.send(&Reply::Version(row)).map_err(gone)?;
        }
        well(some)
    }

    pub(super) fn restore(
        &self,
        target: &Target,
        version: Option<&str>,
        replies: &Replies,
    ) -> Answer {
        let scope = self.place(target)?;
        let (path, version) = (scope.path.clone(), version.map(str::to_owned));
        let asked = scope.handle.ask_flushed(move |actor| {
            let (op, kept) = actor.version_of(&path, version.as_deref())?;
            let place = actor.restore(op, &kept)?;
            let path = path.as_bytes().escape_ascii();
            Ok(format!("version {op:016x} of {path} restored to {place}"))
        });
        let notice = asked.ok_or_else(ended)?.map_err(|error: String| cannot(error, None))?;
        replies.send(&Reply::Notice(notice)).map_err(gone)?;
        Ok(Outcome::Well)
    }
}

impl Actor {
    fn versions(&mut self, path: &RelPath) -> Result<Vec<Version>, String> {
        let Some(journal) = &self.shop.journal else { return Ok(Vec::new()) };
        journal.barrier().map_err(|error| error.to_string())?;
        let kept = journal.kept(path).map_err(|error| error.to_string())?;
        let row = |(op, kept): (u64, Kept)| Version {
            name: self.record.name.clone(),
            version: format!("{op:016x}"),
            when_ms: kept.when_ms,
            replica: self.record.replica_name(kept.replica).to_owned(),
            size: kept.value.bytes(),
            digest: kept.value.digest(),
            why: kept.why,
            path: kept.path,
        };
        Ok(kept.into_iter().map(row).collect())
    }

    /// A displaced version of a path: the newest, unless one is named.
    pub(super) fn version_of(
        &mut self,
        path: &RelPath,
        version: Option<&str>,
    ) -> Result<(u64, Kept), String> {
        let Some(journal) = &self.shop.journal else { return Err("nothing is kept".to_owned()) };
        journal.barrier().map_err(|error| error.to_string())?;
        let kept = journal.kept(path).map_err(|error| error.to_string())?;
        let shown = path.as_bytes().escape_ascii();
        let mut of_path = kept.into_iter().filter(|(_, k)| k.path == *path);
        let found = match version {
            Some(version) => of_path.find(|(op, _)| format!("{op:016x}") == version),
            None => of_path.max_by_key(|(op, k)| (k.when_ms, *op)),
        };
        found.ok_or_else(|| match version {
            Some(version) => format!("{shown} has no version {version}"),
            None => format!("no displaced version of {shown} is kept"),
        })
    }
}
