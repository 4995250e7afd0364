//! An agent on a host where nothing is installed: this very program, copied there and run.
//!
//! Holds: what runs there has the digest of what is here; it is put in place whole, under a name of its build, so that
//! two builds never get into each other's way; nothing of it is outside of one folder of the user's.

pub mod probe;

use std::path::{Path, PathBuf};

use super::error::SshError;
use super::protocol::Build;
use super::reach::Reach;
use probe::{Found, Mark};

/// The most of a probe's answer that is read, with whatever a login shell prints before it.
const ANSWER_MAX: usize = 256 << 10;
/// The most folders that are tried.
const FOLDERS_MAX: usize = 8;
/// Builds that nobody has used for so long go, in days.
const OLD_DAYS: u32 = 30;

/// A program file that can be copied to hosts.
#[derive(Clone, Debug)]
pub struct Program {
    pub bytes: Vec<u8>,
    pub build: Build,
}

/// The programs for hosts: this one, and those of other machines in the agents folder.
#[derive(Clone, Debug)]
pub struct Programs {
    /// This program's own file.
    pub own: PathBuf,
    /// `$XDG_DATA_HOME/yeet/agents`: `yeet-<machine>-<system>`.
    pub others: PathBuf,
}

/// What was found, tried and done on a host, for whoever wants to tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Found(Found),
    /// The agent was there already.
    Present(String),
    /// It was copied to this path; bytes.
    Copied(String, usize),
    /// This folder would not do.
    Failed(String, String),
}

/// Why there is no agent on a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAgent {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error("{host} has no shell that yeet can use: {why}")]
    Shell { host: String, why: String },
    #[error("{host} is {found}, and there is no yeet for it here: {why}")]
    Machine { host: String, found: String, file: PathBuf, why: String },
    #[error("{host} has no folder where a program can be kept and run: {}", listed(.tried))]
    Folder { host: String, tried: Vec<(String, String)> },
    #[error("this program's own file {} cannot be read: {why}", .file.display())]
    Own { file: PathBuf, why: String },
}

fn listed(tried: &[(String, String)]) -> String {
    let tried: Vec<String> = tried.iter().map(|(path, why)| format!("{path}: {why}")).collect();
    if tried.is_empty() { "none was found".to_owned() } else { tried.join("; ") }
}

impl NoAgent {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh(error) => error.hint(),
            Self::Shell { .. } => {
                Some("the user's shell there must run commands: is it a restricted one?".to_owned())
            }
            Self::Machine { file, .. } => {
                Some(format!("put a yeet that was built for it at {}", file.display()))
            }
            Self::Folder { .. } => Some(
                "set XDG_CACHE_HOME for that user to a folder on a disk that programs run from"
                    .to_owned(),
            ),
            Self::Own { .. } => None,
        }
    }
}

/// A mark that no login file prints.
#[must_use]
pub fn random_mark() -> Mark {
    let mut random = [0; 8];
    // Without random bytes the mark is a fixed one, and still in no message of the day.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap_or_default();
    Mark::new(u64::from_ne_bytes(random))
}

/// An agent on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Absolute, and plain for every shell.
    pub path: String,
    pub build: Build,
}

/// Sees to it that the agent is on a host.
///
/// # Errors
/// It cannot be.
pub async fn install(
    reach: &mut Reach,
    programs: &Programs,
    mark: &Mark,
    tell: &mut dyn FnMut(Event),
) -> Result<Installed, NoAgent> {
    let host = reach.host().to_owned();
    let mut tried: Vec<(String, String)> = Vec::new();
    for _ in 0..FOLDERS_MAX {
        let without: Vec<String> = tried.iter().map(|(folder, _)| folder.clone()).collect();
        let found = probe(reach, mark, &without).await?;
        tell(Event::Found(found.clone()));
        tried.extend(found.refused.iter().filter(|(f, _)| !without.contains(f)).cloned());
        let program = program(&host, &found, programs)?;
        let Some(folder) = found.folder else { break };
        let name = format!("yeet-{}", program.build.short());
        let path = format!("{folder}/{name}");
        if found.agents.contains(&name) {
            match check(reach, &path, &program).await? {
                Ok(()) => {
                    tell(Event::Present(path.clone()));
                    return Ok(Installed { path, build: program.build });
                }
                // Half a file of a disk that was full once, or one that somebody changed: it is replaced.
                Err(why) => tell(Event::Failed(path.clone(), why)),
            }
        }
        match put(reach, &folder, &name, &program).await? {
            Ok(()) => {
                tell(Event::Copied(path.clone(), program.bytes.len()));
                return Ok(Installed { path, build: program.build });
            }
            Err(why) => {
                tell(Event::Failed(path, why.clone()));
                tried.push((folder, why));
            }
        }
    }
    Err(NoAgent::Folder { host, tried })
}

async fn probe(reach: &mut Reach, mark: &Mark, without: &[String]) -> Result<Found, NoAgent> {
    let script = probe::script(mark, without);
    let answer = reach.run("exec /bin/sh -s", || script.as_bytes(), ANSWER_MAX).await?;
    probe::read(mark, &answer.out).map_err(|why| NoAgent::Shell {
        host: reach.host().to_owned(),
        why: format!("{why}; {}", answer.why()),
    })
}

fn program(host: &str, found: &Found, programs: &Programs) -> Result<Program, NoAgent> {
    let machine = match found.machine.as_str() {
        "arm64" => "aarch64",
        "amd64" => "x86_64",
        other => other,
    };
    if (machine, found.system.as_str()) == (std::env::consts::ARCH, std::env::consts::OS) {
        let own =
            |why: std::io::Error| NoAgent::Own { file: programs.own.clone(), why: why.to_string() };
        return read(&programs.own).map_err(own);
    }
    // What a host calls itself becomes no path.
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let name = format!("yeet-{machine}-{}", found.system);
    let file = programs.others.join(if word(machine) && word(&found.system) {
        &name
    } else {
        "yeet-unknown"
    });
    read(&file).map_err(|why| NoAgent::Machine {
        host: host.to_owned(),
        found: format!("{} {}", found.machine, found.system),
        why: format!("{}: {why}", file.display()),
        file,
    })
}

#[allow(clippy::disallowed_methods, reason = "io shell")]
fn read(file: &Path) -> std::io::Result<Program> {
    let bytes = std::fs::read(file)?;
    let build = Build(blake3::hash(&bytes).into());
    Ok(Program { bytes, build })
}

/// Copies the program into a folder, whole or not at all; what is wrong with the folder, where something is.
async fn put(
    reach: &mut Reach,
    folder: &str,
    name: &str,
    program: &Program,
) -> Result<Result<(), String>, SshError> {
    let size = program.bytes.len();
    // No word of it means anything to any shell but sh; the paths are plain. Older builds that have not been run for
    // long go, and what a push that was cut short has left; a build that runs has its time renewed by whoever starts it.
    let command = format!(
        "exec /bin/sh -c 'umask 077; cd \"{folder}\" || exit 3; t=.{name}.$$; \
         if cat >\"$t\" && [ \"$(wc -c <\"$t\")\" -eq {size} ] && chmod 700 \"$t\" && mv -f \"$t\" {name}; \
         then find . -name \"*yeet-*\" -mtime +{OLD_DAYS} -exec rm -f {{}} + 2>/dev/null; exit 0; fi; \
         rm -f \"$t\"; exit 4'"
    );
    let ended = reach.run(&command, || program.bytes.as_slice(), 4096).await?;
    // Some servers tell no status: the check tells.
    if ended.status.is_some_and(|status| status != 0) {
        return Ok(Err(ended.why()));
    }
    check(reach, &format!("{folder}/{name}"), program).await
}

/// Has the file there say its own digest, which also shows that it runs.
async fn check(
    reach: &mut Reach,
    path: &str,
    program: &Program,
) -> Result<Result<(), String>, SshError> {
    let command =
        format!("exec /bin/sh -c 'touch -c \"{path}\"; exec \"{path}\" agent --digest \"{path}\"'");
    let ended = reach.run(&command, tokio::io::empty, 64 << 10).await?;
    let digest = blake3::Hash::from(program.build.0).to_hex();
    if ended.out.windows(digest.len()).any(|window| window == digest.as_bytes()) {
        return Ok(Ok(()));
    }
    Ok(Err(match ended.status {
        Some(0) | None => "it is not what was copied".to_owned(),
        Some(126) => "no program runs there".to_owned(),
        Some(_) => ended.why(),
    }))
}
