//! A real daemon on real directories, with places of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// As [`Out`], as it came.
pub(crate) struct Fed {
    pub(crate) code: i32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) said: String,
}

/// Two empty directories, `a` and `b`, and places for a daemon.
pub(crate) struct Rig {
    dir: TempDir,
    daemon: Option<Child>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let base = if Path::new("/dev/shm").is_dir() {
            PathBuf::from("/dev/shm")
        } else {
            std::env::temp_dir()
        };
        let dir =
            tempfile::Builder::new().prefix("yeet-system-").tempdir_in(base).expect("a temp dir");
        for place in ["a", "b", "run", "state", "config", "cache", "home"] {
            fs::create_dir(dir.path().join(place)).expect("a fresh directory");
        }
        fs::set_permissions(dir.path().join("run"), fs::Permissions::from_mode(0o700))
            .expect("own directory");
        Self { dir, daemon: None }
    }

    /// A rig with its daemon running and `a` and `b` in a sync called `s`.
    pub(crate) fn synced(mode: &str) -> Self {
        let mut rig = Self::new();
        rig.start();
        rig.ok(&["add", "--name", "s", "--mode", mode, &rig.s("a"), &rig.s("b")]);
        rig.settle();
        rig
    }

    pub(crate) fn path(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    fn s(&self, rel: &str) -> String {
        self.path(rel).to_str().expect("the rig's own path is UTF-8").to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yeet"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Out {
        Self::ended(&mut self.command(args))
    }

    /// Runs a command that must succeed in this directory; its standard output.
    #[track_caller]
    pub(crate) fn ok_in(&self, dir: &str, args: &[&str]) -> String {
        let out = Self::ended(self.command(args).current_dir(self.path(dir)));
        assert_eq!(out.code, 0, "yeet {args:?} printed {out:?}\n{}", self.log());
        out.stdout
    }

    /// Runs a command with arguments that need not be text and this as its input; its code, what it printed and said.
    pub(crate) fn fed(&self, args: &[&OsStr], input: &[u8]) -> Fed {
        let mut command = self.command(&[]);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        // What does not read its input is no failure.
        drop(child.stdin.take().expect("it is piped").write_all(input));
        let out = child.wait_with_output().expect("it is our child");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        Fed { code: out.status.code().unwrap_or(-1), bytes: out.stdout, said }
    }

    fn ended(command: &mut Command) -> Out {
        let out = command.output().expect("the binary runs");
        Out {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.exits(0, args)
    }

    /// Runs a command that must exit with `code`; its standard output.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args);
        assert_eq!(out.code, code, "yeet {args:?} printed {out:?}\n{}", self.log());
        out.stdout
    }

    /// Starts the daemon in the foreground of a child and waits until it answers.
    pub(crate) fn start(&mut self) {
        assert!(self.daemon.is_none(), "one daemon a rig");
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("daemon.log"))
            .expect("a log");
        let mut command = self.command(&["daemon", "run"]);
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.daemon = Some(command.spawn().expect("the binary runs"));
        for _ in 0..10_000 {
            if self.run(&["daemon", "status"]).code == 0 {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the daemon does not answer\n{}", self.log());
    }

    /// What the daemon printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.daemon.as_ref().expect("a daemon runs"))
    }

    /// How many files the daemon has open.
    pub(crate) fn open_files(&self) -> u64 {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid().as_raw_nonzero()));
        open.expect("it is our child").count() as u64
    }

    /// From now on the daemon may have so many files open.
    pub(crate) fn limit_files(&self, count: u64) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit { current: Some(count), maximum: Some(4096) };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("it is our child");
    }

    /// Kills the daemon as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon runs");
        daemon.kill().expect("it is our child");
        daemon.wait().expect("it is our child");
    }

    /// Holds every thread of the daemon still while `look` runs.
    #[allow(dead_code, reason = "not every test binary that shares the rig freezes its daemon")]
    pub(crate) fn frozen<T>(&self, look: impl FnOnce() -> T) -> T {
        let pid = self.daemon.as_ref().expect("a daemon runs").id();
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &pid.to_string()]).status();
            assert!(sent.expect("kill is there").success(), "kill {name} {pid}");
        };
        signal("-STOP");
        let stands = |task: &fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('T'))
        };
        let tasks = || fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        while !tasks().all(|task| stands(&task.expect("a thread"))) {
            std::thread::yield_now();
        }
        let seen = look();
        signal("-CONT");
        seen
    }

    /// Asks the daemon to stop.
    pub(crate) fn stop(&mut self) {
        self.ok(&["daemon", "stop"]);
        self.daemon.take().expect("a daemon runs").wait().expect("it is our child");
    }

    /// Waits until every change is carried out; it must end in sync.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let out = self.run(&["wait", "--timeout", "60"]);
        assert_eq!(
            out.code,
            0,
            "{out:?}\n{}\n{}\n{}",
            self.run(&["status", "--files"]).stdout,
            self.run(&["status", "-l"]).stdout,
            self.log()
        );
    }

    pub(crate) fn write(&self, rel: &str, text: &str) {
        let path = self.path(rel);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory");
        }
        fs::write(path, text).expect("a file");
    }

    /// As editors do it: what is written is never there in part, not even for a moment.
    pub(crate) fn save(&self, rel: &str, bytes: &[u8]) {
        let beside = self.path("being saved");
        fs::write(&beside, bytes).expect("a file");
        fs::rename(beside, self.path(rel)).expect("the same file system");
    }

    #[track_caller]
    pub(crate) fn read(&self, rel: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(rel)).unwrap_or_else(|e| panic!("{rel}: {e}")))
            .into_owned()
    }

    /// Everything below `rel` but `.yeet`, one line an object: type, mode, path, content.
    pub(crate) fn tree(&self, rel: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let root = self.path(rel);
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                let rel = path.strip_prefix(&root).expect("below the root").to_owned();
                if rel == Path::new(".yeet") {
                    continue;
                }
                let meta = fs::symlink_metadata(&path).expect("it was just listed");
                let mode = meta.permissions().mode() & 0o777;
                let what = if meta.is_dir() {
                    dirs.push(path.clone());
                    format!("dir {mode:o}")
                } else if meta.is_symlink() {
                    format!("link {:?}", fs::read_link(&path).expect("a link"))
                } else {
                    format!("file {mode:o} {}", blake3::hash(&fs::read(&path).expect("a file")))
                };
                lines.push(format!("{rel:?} {what}"));
            }
        }
        lines.sort();
        lines
    }

    /// Both replicas hold the same.
    #[track_caller]
    pub(crate) fn equal(&self) {
        assert_eq!(self.tree("a"), self.tree("b"));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }
}

/// Raises a flag when it goes, also in a panic: who waits for the flag waits for nobody who is gone.
pub(crate) struct Raised<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
