//! What a person at a terminal is asked, and what nobody else sees of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::server::{Home, Server, has};

/// A `yeet doctor nas` at a terminal, and the person's side of that.
struct Seat {
    person: File,
    /// All that was shown so far.
    shown: String,
    doctor: Child,
}

impl Seat {
    fn new(home: &Home) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let doctor = home
            .at_home(Command::new(env!("CARGO_BIN_EXE_yeet")).args(["doctor", "nas"]))
            .stdin(OwnedFd::from(terminal.try_clone().unwrap()))
            .stderr(OwnedFd::from(terminal))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { person: person.into(), shown: String::new(), doctor }
    }

    /// Waits until this is shown, and types.
    fn after(&mut self, prompt: &str, typed: &str) {
        let mut bytes = [0; 4096];
        while !self.shown.contains(prompt) {
            let length =
                self.person.read(&mut bytes).unwrap_or_else(|e| panic!("{e}: {}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        self.person.write_all(typed.as_bytes()).unwrap();
    }

    /// The exit code and the rows; what was shown besides.
    fn end(mut self) -> (i32, String, String) {
        let mut rows = String::new();
        self.doctor.stdout.take().unwrap().read_to_string(&mut rows).unwrap();
        let code = self.doctor.wait().unwrap().code().unwrap();
        let mut bytes = [0; 4096];
        // The last one has left the terminal: reading fails once all is read.
        while let Ok(length @ 1..) = self.person.read(&mut bytes) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        (code, rows, self.shown)
    }
}

#[test]
fn a_person_is_asked_about_a_new_host_and_for_a_passphrase_which_is_not_shown() {
    if !has("sshd") {
        return;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", "open sesame"));
    let server = Server::openssh(&home, "");
    home.config(&format!(
        "Host nas\n HostName 127.0.0.1\n Port {}\n IdentityAgent none\n",
        server.port
    ));
    let mut seat = Seat::new(&home);
    seat.after("[yes/no] ", "perhaps\n");
    seat.after("Please say yes or no.", "yes\n");
    seat.after("Passphrase of ", "open sesame\n");
    let (code, rows, shown) = seat.end();
    assert_eq!(code, 0, "{rows}{shown}");
    assert!(shown.contains("perhaps") && !shown.contains("sesame"), "{shown}");
    assert!(rows.contains("key\tok") && rows.contains("new, written to"), "{rows}");
    // Once is enough.
    let mut seat = Seat::new(&home);
    seat.after("Passphrase of ", "open sesame\n");
    let (code, rows, shown) = seat.end();
    assert!(code == 0 && !shown.contains("yes/no"), "{rows}{shown}");
    let mut seat = Seat::new(&home);
    seat.after("Passphrase of ", "\n");
    let (code, rows, _) = seat.end();
    assert!(code == 1 && rows.contains("no passphrase opened it"), "{rows}");
}
