//! `yeet doctor`: what this machine has, and every step of the way to a host.

use std::sync::Arc;
use std::time::Duration;

use super::RowArgs;
use super::error::CommandError;
use super::request::places;
use super::terminal::Terminal;
use super::ui::{Field, Ui};
use crate::config::Config;
use crate::places::Places;
use crate::service::dial::programs;
use crate::service::host::ways;
use crate::sources::control::socket::{Client, ConnectError};
use crate::ssh::bootstrap::{Event, Installed, install, random_mark};
use crate::ssh::client::Hop;
use crate::ssh::destination::Destination;
use crate::ssh::error::SshError;
use crate::ssh::files::Here;
use crate::ssh::peer::{BadPeer, Peer};
use crate::ssh::protocol::Limits;
use crate::ssh::reach::Reach;
use crate::ssh::route::Route;
use crate::ssh::settings::Settings;
use crate::sys;

const NAMES: [&str; 3] = ["STEP", "STATE", "DETAIL"];
/// With fewer, a home directory may be more than can be watched.
const WATCHES_ENOUGH: u64 = 100_000;
const FILES_ENOUGH: u64 = 1024;

/// Check this machine, or every step of the way to a host
///
/// Every step is a line: what it is, `ok`, `note` or `failed`, and what was found. After a step that failed, `mend` says what to do. A new host's key is remembered if you say it is the right one, and yeet's agent is copied to a folder of yours there; nothing else is changed.
#[derive(clap::Args)]
#[command(after_help = "\
Exit codes: 0 all is well; 1 a step failed.

Examples:
  yeet doctor
  yeet doctor me@nas:2222")]
pub(crate) struct Args {
    /// [USER@]HOST[:PORT], or what ~/.ssh/config calls it
    #[arg(value_name = "HOST")]
    host: Option<String>,
    #[command(flatten)]
    rows: RowArgs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Worth knowing, and no hindrance.
    Note,
    Failed,
}

/// What was found, and what to do about it.
struct Findings(Vec<(&'static str, State, String)>);

impl Findings {
    fn ok(&mut self, step: &'static str, detail: impl Into<String>) {
        self.0.push((step, State::Ok, detail.into()));
    }

    fn note(&mut self, step: &'static str, detail: impl Into<String>) {
        self.0.push((step, State::Note, detail.into()));
    }

    fn failed(&mut self, step: &'static str, detail: impl Into<String>) {
        self.0.push((step, State::Failed, detail.into()));
    }

    fn mend(&mut self, detail: impl Into<String>) {
        self.0.push(("mend", State::Note, detail.into()));
    }
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let mut found = Findings(Vec::new());
    match args.host {
        Some(host) => {
            let asked =
                Destination::parse(&host).map_err(|e| CommandError::usage(e.to_string()))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(visit(&asked, &mut found));
        }
        None => look_here(&mut found),
    }
    let is_well = found.0.iter().all(|(_, state, _)| *state != State::Failed);
    let rows: Vec<Vec<Field>> = found
        .0
        .into_iter()
        .map(|(step, state, detail)| {
            let state = match state {
                State::Ok => "ok",
                State::Note => "note",
                State::Failed => "failed",
            };
            vec![Field::Text(step.to_owned()), Field::Text(state.to_owned()), Field::Text(detail)]
        })
        .collect();
    ui.rows(&args.rows.format(), &NAMES, &rows)?;
    Ok(u8::from(!is_well))
}

async fn visit(asked: &Destination, found: &mut Findings) {
    let here = match Here::from_env() {
        Ok(here) => here,
        Err(why) => return found.failed("settings", why),
    };
    let config = places().ok().map(|places| places.config);
    let routes = match ways(asked, config.as_deref()) {
        Ok(routes) => routes,
        Err(why) => return found.failed("settings", why),
    };
    let mut reached: Option<(Route, Reach)> = None;
    let mut failed = Vec::new();
    for (route, _) in &routes {
        if routes.len() > 1 {
            found.ok("route", route.to_string());
        }
        match go(asked, route, &here, found).await {
            Ok(reach) if reached.is_none() => reached = Some((route.clone(), reach)),
            Ok(reach) => reach.close().await,
            Err(why) => failed.push(why),
        }
    }
    let Some((route, mut reach)) = reached else {
        return failed.into_iter().for_each(|(step, error)| fail(found, step, &error));
    };
    // Who is away from home has no way by the network there: one that works is enough.
    for (step, error) in failed {
        found.note(step, error.to_string());
    }
    if try_command(&mut reach, found).await
        && let Some(agent) = try_install(&mut reach, found).await
    {
        try_agent(&mut reach, route, &agent, found).await;
    }
    reach.close().await;
}

/// Goes one of the ways to a host; else at which step it failed.
async fn go(
    asked: &Destination,
    route: &Route,
    here: &Here,
    found: &mut Findings,
) -> Result<Reach, (&'static str, SshError)> {
    let way = here.way_by(asked, route).map_err(|error| ("settings", error.into()))?;
    for settings in &way {
        tell_settings(settings, found);
    }
    let now_s = u64::try_from(sys::now_ns() / 1_000_000_000).unwrap_or_default();
    let ask = Arc::new(Terminal::new());
    let reached = Reach::new(way, here.clone(), ask, now_s, &mut |hop| tell_hop(hop, found)).await;
    reached.map_err(|error| match &error {
        SshError::HostKey { .. } => ("key", error),
        SshError::Auth { .. } => ("login", error),
        _ => ("reach", error),
    })
}

/// Whether the host runs commands.
async fn try_command(reach: &mut Reach, found: &mut Findings) -> bool {
    let host = reach.host().to_owned();
    // A word that no message of the day has, and no shell takes for anything else.
    match reach.run("echo yeet-doctor", tokio::io::empty, 64 << 10).await {
        Ok(ended) if contains(&ended.out, b"yeet-doctor") => {
            found.ok("command", format!("{host} runs commands"));
            let noise = String::from_utf8_lossy(&ended.out).replacen("yeet-doctor", "", 1);
            if !noise.trim().is_empty() {
                found
                    .note("command", "its login files print something into every command's output");
            }
            true
        }
        Ok(ended) => {
            found.failed("command", format!("{host} does not run `echo`: {}", ended.why()));
            found.mend("the user's shell there must run commands: is it a restricted one?");
            false
        }
        Err(error) => {
            fail(found, "command", &error);
            false
        }
    }
}

/// Copies the agent to the host, where it is not there yet.
async fn try_install(reach: &mut Reach, found: &mut Findings) -> Option<Installed> {
    let programs = match programs() {
        Ok(programs) => programs,
        Err(why) => {
            found.failed("agent", why);
            return None;
        }
    };
    let mark = random_mark();
    let mut tell = |event| match event {
        Event::Found(host) => {
            found.ok("machine", format!("{} {}, home {}", host.system, host.machine, host.home));
            for (folder, why) in host.refused {
                found.note("folder", format!("{folder}: {why}"));
            }
            if let Some(folder) = host.folder {
                found.ok("folder", folder);
            }
        }
        Event::Present(path) => found.ok("agent", format!("{path} is there")),
        Event::Copied(path, bytes) => {
            found.ok("agent", format!("{path} was copied, {bytes} bytes"))
        }
        Event::Failed(path, why) => found.note("agent", format!("{path}: {why}")),
    };
    match install(reach, &programs, &mark, &mut tell).await {
        Ok(installed) => Some(installed),
        Err(error) => {
            found.failed("agent", error.to_string());
            if let Some(hint) = error.hint() {
                found.mend(hint);
            }
            None
        }
    }
}

async fn try_agent(reach: &mut Reach, route: Route, agent: &Installed, found: &mut Findings) {
    let peer = match Peer::start(reach, route, agent).await {
        Ok((peer, _carried)) => peer,
        Err(error) => return found.failed("answer", error.to_string()),
    };
    let ask = move || -> Result<_, BadPeer> {
        let before = sys::now();
        peer.ping()?;
        let took = sys::now().duration_since(before);
        let limits = peer.limits()?;
        let data = peer.try_data();
        peer.goodbye();
        Ok((took, limits, data))
    };
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    match tokio::task::spawn_blocking(ask).await {
        Ok(Ok((took, limits, data))) => {
            found.ok("answer", format!("the agent answers in {:.1} ms", ms(took)));
            match data {
                Ok((took, refused)) => {
                    let made =
                        format!("data has a connection of its own, made in {:.1} ms", ms(took));
                    found.ok("socket", made);
                    for stranger in refused {
                        found.note("socket", format!("turned away: {stranger}"));
                    }
                }
                Err(why) => found.note("socket", format!("data goes over SSH alone: {why}")),
            }
            tell_limits(limits, found);
        }
        Ok(Err(error)) => found.failed("answer", error.to_string()),
        Err(error) => found.failed("answer", error.to_string()),
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn fail(found: &mut Findings, step: &'static str, error: &SshError) {
    found.failed(step, error.to_string());
    if let Some(hint) = error.hint() {
        found.mend(hint);
    }
}

fn tell_settings(settings: &Settings, found: &mut Findings) {
    let Settings { host, hostname, user, port, .. } = settings;
    let address =
        Destination { user: Some(user.clone()), host: hostname.clone(), port: Some(*port) };
    found.ok("settings", format!("{host} is {address}"));
    for note in &settings.notes {
        found.note("settings", format!("{}: {}", note.place, note.what));
    }
}

fn tell_hop(hop: &Hop, found: &mut Findings) {
    let Hop { host, address, server, key_exchange, cipher, .. } = hop;
    found.ok("reach", format!("{host} at {address} is {server}; {key_exchange}, {cipher}"));
    found.ok("key", format!("{host}: {}", hop.trusted));
    if !hop.banner.trim().is_empty() {
        found.note("banner", hop.banner.trim());
    }
    let tried: Vec<String> = hop.tried.iter().map(ToString::to_string).collect();
    let offers = match hop.offered.as_slice() {
        [] => String::new(),
        some => format!(", which offers {}", some.join(", ")),
    };
    found.ok("login", format!("{} at {host}{offers}: {}", hop.user, tried.join("; ")));
}

fn look_here(found: &mut Findings) {
    found.ok("version", format!("yeet {}", env!("CARGO_PKG_VERSION")));
    match places() {
        Ok(places) => look_at_places(&places, found),
        Err(error) => found.failed("places", error.to_string()),
    }
    tell_limits(Limits { watches: sys::watches_max(), files: sys::files_max() }, found);
    match Here::from_env() {
        Ok(here) => {
            let agent =
                std::env::var_os("SSH_AUTH_SOCK").map(|path| path.to_string_lossy().into_owned());
            let agent =
                agent.map_or_else(|| "no agent".to_owned(), |path| format!("agent at {path}"));
            found.ok(
                "ssh",
                format!("you are {} with {}/.ssh; {agent}", here.user, here.home.display()),
            );
        }
        Err(why) => found.failed("ssh", why),
    }
}

fn look_at_places(places: &Places, found: &mut Findings) {
    match Config::load(&places.config) {
        Ok(_) => found.ok("config", places.config.join("config.toml").display().to_string()),
        Err(error) => {
            found.failed("config", error.to_string());
            found.mend("a daemon does not start with it; correct the line, or remove the file");
        }
    }
    for (step, dir) in [("state", &places.state), ("cache", &places.cache)] {
        // What does not exist yet is made when it is needed, below what there is.
        let there = dir.ancestors().find(|dir| dir.is_dir());
        let can =
            there.is_some_and(|dir| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok());
        match can {
            true => found.ok(step, dir.display().to_string()),
            false => {
                found.failed(step, format!("{} cannot be written to", dir.display()));
                found.mend("make it yours, or name another one with the XDG variables");
            }
        }
    }
    match Client::connect(&places.runtime) {
        Ok(_) => found.ok("daemon", format!("runs; its socket is in {}", places.runtime.display())),
        Err(ConnectError::NoDaemon) => {
            found.note("daemon", "does not run; `yeet daemon start` and `yeet add` start it");
        }
        Err(error) => found.failed("daemon", error.to_string()),
    }
}

fn tell_limits(limits: Limits, found: &mut Findings) {
    match limits.watches {
        Some(watches) if watches < WATCHES_ENOUGH => {
            found.note("watches", format!("{watches} directories can be watched by one user"));
            found.mend(
                "as root: echo fs.inotify.max_user_watches=524288 > /etc/sysctl.d/50-yeet.conf; sysctl --system",
            );
        }
        Some(watches) => {
            found.ok("watches", format!("{watches} directories can be watched by one user"));
        }
        None => {
            found.note("watches", "the system does not say how many directories can be watched")
        }
    }
    match limits.files {
        Some(files) if files < FILES_ENOUGH => {
            found.note("files", format!("{files} files can be open at a time"));
            found.mend("raise the hard limit: `ulimit -Hn` shows it");
        }
        Some(files) => found.ok("files", format!("{files} files can be open at a time")),
        None => found.ok("files", "any number of files can be open at a time"),
    }
}
