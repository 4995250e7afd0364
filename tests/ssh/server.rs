//! Real SSH servers on ports that nobody chose, each connection a server of its own; and a home with an SSH config.
//!
//! Holds: nothing of the user's own SSH files is read or written; a server is gone when its handle is.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tempfile::TempDir;
use yeet::ssh::ask::{Ask, Secret};
use yeet::ssh::client::{Connection, connect};
use yeet::ssh::destination::Destination;
use yeet::ssh::error::SshError;
use yeet::ssh::exec::Ended;
use yeet::ssh::files::Here;

/// Whether a program is there; where it is not, the test says so and does nothing.
#[allow(clippy::print_stderr, reason = "tests that did nothing say so")]
pub(crate) fn has(program: &str) -> bool {
    let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).is_file());
    if !found {
        eprintln!("nothing was tested: {program} is not installed");
    }
    found
}

/// Whether this may make namespaces, which takes root and a system that lets root do so.
#[allow(clippy::print_stderr, reason = "tests that did nothing say so")]
pub(crate) fn has_namespaces() -> bool {
    let made = Command::new("unshare").args(["-n", "-m", "true"]).stderr(Stdio::null()).status();
    let made = made.is_ok_and(|status| status.success());
    if !made {
        eprintln!("nothing was tested: no namespaces can be made");
    }
    made
}

/// Answers as written down, and remembers what it was asked.
pub(crate) struct Script {
    answers: Mutex<VecDeque<String>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Script {
    pub(crate) fn of(answers: &[&str]) -> Arc<Self> {
        let answers = answers.iter().map(|a| (*a).to_owned()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::new(Vec::new()) })
    }

    fn next(&self, question: &str) -> Option<String> {
        self.asked.lock().unwrap().push(question.to_owned());
        self.answers.lock().unwrap().pop_front()
    }

    pub(crate) fn questions(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Ask for Script {
    fn is_there(&self) -> bool {
        true
    }

    fn yes(&self, question: &str) -> Option<bool> {
        self.next(question).map(|answer| answer == "yes")
    }

    fn answer(&self, prompt: &str, _: bool) -> Option<Secret> {
        self.next(prompt).map(Secret::new)
    }

    fn tell(&self, _: &str) {}
}

/// A home of its own, with keys, a config and a known_hosts.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("yeet-ssh-").tempdir().unwrap();
        for place in ["home/.ssh", "keys", "run", "etc", "there"] {
            fs::create_dir_all(dir.path().join(place)).unwrap();
        }
        for private in ["home/.ssh", "run"] {
            fs::set_permissions(dir.path().join(private), fs::Permissions::from_mode(0o700))
                .unwrap();
        }
        Self { dir }
    }

    pub(crate) fn path(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    pub(crate) fn write(&self, rel: &str, text: &str) {
        fs::write(self.path(rel), text).unwrap();
        fs::set_permissions(self.path(rel), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn read(&self, rel: &str) -> String {
        fs::read_to_string(self.path(rel)).unwrap_or_default()
    }

    /// Makes a key pair; its public half as one line without a comment.
    pub(crate) fn key(&self, rel: &str, kind: &str, passphrase: &str) -> String {
        let file = self.path(rel);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", kind, "-N", passphrase, "-C", "", "-f"]).arg(&file);
        if kind == "rsa" {
            command.args(["-b", "2048"]);
        }
        assert!(command.status().unwrap().success(), "ssh-keygen makes {rel}");
        self.public(rel)
    }

    pub(crate) fn public(&self, rel: &str) -> String {
        self.read(&format!("{rel}.pub")).trim().to_owned()
    }

    pub(crate) fn sign(&self, authority: &str, key: &str, options: &[&str]) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-s"]).arg(self.path(authority)).args(["-I", "it"]).args(options);
        command.arg(self.path(&format!("{key}.pub")));
        assert!(command.status().unwrap().success(), "ssh-keygen signs {key}");
    }

    pub(crate) fn here(&self) -> Here {
        Here {
            home: self.path("home"),
            system_config: self.path("none"),
            ..Here::from_env().unwrap()
        }
    }

    pub(crate) fn config(&self, text: &str) {
        self.write("home/.ssh/config", text);
    }

    /// Connects as the config says, and hands the connection on.
    pub(crate) fn with<T>(
        &self,
        host: &str,
        ask: Arc<dyn Ask>,
        then: impl AsyncFnOnce(Connection) -> T,
    ) -> Result<T, SshError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let here = self.here();
            let way = here.way(&Destination::parse(host).unwrap())?;
            let now_s = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs();
            let connection = connect(&way, &here, ask, now_s, &mut |_| {}).await?;
            Ok(then(connection).await)
        })
    }

    /// Connects, runs a command and says goodbye.
    pub(crate) fn run(
        &self,
        host: &str,
        ask: Arc<dyn Ask>,
        command: &str,
    ) -> Result<Ended, SshError> {
        self.with(host, ask, async |connection| {
            let ended = connection.run(command, tokio::io::empty(), 1 << 20).await;
            connection.close().await;
            ended
        })?
    }

    /// `yeet doctor HOST` with nobody at the terminal: its exit code and its lines.
    pub(crate) fn doctor(&self, host: &str) -> (i32, String) {
        self.ended(Command::new(env!("CARGO_BIN_EXE_yeet")).args(["doctor", host]))
    }

    /// A command with this home, and without any program of SSH's.
    pub(crate) fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env_remove("SSH_AUTH_SOCK")
            // No ssh, scp or sftp is found.
            .env("PATH", self.path("none"))
    }

    /// The same, run to its end with nobody at the terminal.
    pub(crate) fn ended(&self, command: &mut Command) -> (i32, String) {
        let out = self.at_home(command).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.is_empty(), "{said}");
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stdout).into_owned())
    }
}

/// The user that tests log in as: the one they run as.
pub(crate) fn user() -> String {
    Here::from_env().unwrap().user
}

/// A server; every connection is answered by a process, or by a function.
pub(crate) struct Server {
    pub(crate) port: u16,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(mut answer: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                answer(stream);
            }
        });
        Self { port: address.port(), address, is_over, accepting: Some(accepting) }
    }

    fn by_process(mut command: impl FnMut() -> Command + Send + 'static) -> Self {
        Self::new(move |stream| {
            let input = OwnedFd::from(stream.try_clone().unwrap());
            let mut command = command();
            command.stdin(input).stdout(OwnedFd::from(stream)).stderr(Stdio::null());
            let mut child = command.spawn().expect("the server runs");
            // It ends with its connection.
            std::thread::spawn(move || drop(child.wait()));
        })
    }

    /// OpenSSH, which lets in whoever has a key of `etc/authorized`, at home in `there`; `more` are lines of its config.
    pub(crate) fn openssh(home: &Home, more: &str) -> Self {
        let config = Self::configure(home, more);
        Self::by_process(move || {
            let mut command = Command::new("/usr/sbin/sshd");
            command.arg("-i").arg("-f").arg(&config);
            command
        })
    }

    /// The same, each connection after `setup` in a mount namespace of its own.
    pub(crate) fn openssh_after(home: &Home, more: &str, setup: &str) -> Self {
        Self::openssh_in("-m", home, more, setup)
    }

    /// The same, each connection on a machine whose ports are not reached.
    pub(crate) fn openssh_apart(home: &Home, more: &str) -> Self {
        Self::openssh_in("-mn", home, more, "")
    }

    fn openssh_in(namespaces: &'static str, home: &Home, more: &str, setup: &str) -> Self {
        let config = Self::configure(home, more);
        let setup = format!(
            "{{ {}; }} </dev/null >&2\nexec /usr/sbin/sshd -i -f \"$1\"",
            if setup.is_empty() { ":" } else { setup }
        );
        Self::by_process(move || {
            let mut command = Command::new("unshare");
            command.args([namespaces, "sh", "-c", &setup, "sh"]).arg(&config);
            command
        })
    }

    /// The config of a server of OpenSSH's.
    pub(crate) fn configure(home: &Home, more: &str) -> PathBuf {
        // What a package that starts a service would have made.
        drop(fs::create_dir_all("/run/sshd"));
        let name = format!("etc/sshd-{}", fs::read_dir(home.path("etc")).unwrap().count());
        let mut config = String::new();
        if !more.contains("HostKey ") {
            if !home.path("keys/host").exists() {
                home.key("keys/host", "ed25519", "");
            }
            config.push_str(&format!("HostKey {}\n", home.path("keys/host").display()));
        }
        let there = home.path("there").display().to_string();
        config.push_str(&format!(
            "{more}\nSetEnv HOME={there} TMPDIR={there}/tmp\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxAuthTries 6\n",
            home.path("etc/authorized").display()
        ));
        home.write(&name, &config);
        home.path(&name)
    }

    /// Dropbear.
    pub(crate) fn dropbear(home: &Home) -> Self {
        let made = Command::new("dropbearkey")
            .args(["-t", "ed25519", "-f"])
            .arg(home.path("keys/dropbear"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let key = home.path("keys/dropbear").display().to_string();
        Self::at_home(home, &format!("exec dropbear -i -r {key}"))
    }

    /// The small one of one channel a connection.
    pub(crate) fn tinysshd(home: &Home) -> Self {
        let keys = home.path("keys/tinysshd");
        let made = Command::new("tinysshd-makekey").arg(&keys).status();
        assert!(made.unwrap().success());
        Self::at_home(home, &format!("exec tinysshd {}", keys.display()))
    }

    /// A server that reads the home of the user that the system knows: it gets `there` to see.
    fn at_home(home: &Home, server: &str) -> Self {
        fs::create_dir(home.path("there/.ssh")).unwrap();
        for dir in ["there", "there/.ssh"] {
            fs::set_permissions(home.path(dir), fs::Permissions::from_mode(0o700)).unwrap();
        }
        home.write("there/.ssh/authorized_keys", &home.read("etc/authorized"));
        let there = home.path("there");
        let real = std::env::home_dir().unwrap();
        let script = format!("mount --bind \"$1\" \"$2\" && {server}");
        Self::by_process(move || {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &script, "sh"]).arg(&there).arg(&real);
            command
        })
    }

    /// A server that takes connections and never says a word.
    pub(crate) fn silent() -> Self {
        Self::new(|mut stream| {
            std::thread::spawn(move || drop(stream.read_to_end(&mut Vec::new())));
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // It wakes up to look whether it is over.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}
