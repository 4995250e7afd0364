//! The door of an open replica: a control socket on its machine, for who asks in it. The daemon that has it answers.
//!
//! Holds: the replica's sign says where the socket is, or why there is none; it is there no longer than the replica is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::places::Places;
use crate::sources::control::sign::{self, Sign};
use crate::sources::control::socket::{self, Listener, Stop, Take};
use crate::sources::control::stream::pass_on;
use crate::ssh::link::Streams;
use crate::ssh::protocol::Call;
use crate::sys::Root;

/// Who may ask in one replica at a time.
const ASKERS_MAX: usize = 32;

/// Where doors lead to: the agent's caller, who knows the replica by this number.
pub(super) struct Way {
    pub(super) streams: Streams,
    pub(super) replica: u32,
    /// The agent's own file.
    pub(super) program: PathBuf,
}

/// Closed when it is dropped; who has been let in stays until they are answered.
pub(super) struct Door {
    stop: Stop,
    serving: Option<JoinHandle<()>>,
}

impl Door {
    /// Opens it, and puts up the sign. Where that cannot be, there is none: the replica is served all the same.
    pub(super) fn open(root: &Root, way: &Way, owner: &str) -> Option<Self> {
        let replica = sign::mark(&root.identity());
        let bound = bind(&sign::socket_name(&replica));
        let sign = Sign {
            replica,
            daemon: on_a_line(owner),
            program: way.program.clone(),
            socket: bound.as_ref().map(|bound| bound.path().to_owned()).map_err(Clone::clone),
        };
        sign.put_up(root).ok()?;
        let (streams, call) = (way.streams.clone(), Call::Control { replica: way.replica });
        let take: Take = Arc::new(move |socket| {
            // The daemon is gone: so is who was let in.
            if let Ok(stream) = streams.open(&call.bytes()) {
                pass_on(&socket, &stream);
            }
        });
        let (listener, stop) = (bound.ok()?, Stop::default());
        let stops = stop.clone();
        let serve = move || {
            // Whoever asks finds nobody then, and is told so.
            drop(socket::take_all(listener, &take, ASKERS_MAX, &stops));
        };
        let serving = std::thread::Builder::new().name("door".to_owned()).spawn(serve).ok()?;
        Some(Self { stop, serving: Some(serving) })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(serving) = self.serving.take() {
            // The socket is gone with it, before somebody else can have the replica.
            drop(serving.join());
        }
    }
}

/// Makes the socket in the first directory that holds one.
fn bind(name: &str) -> Result<Listener, String> {
    let own = Places::from_env().map(|places| places.runtime).ok();
    let uid = rustix::process::getuid().as_raw();
    let last = Path::new("/tmp").join(format!("yeet-{uid}"));
    let mut why = String::new();
    for dir in own.into_iter().chain([last]) {
        match socket::bind_as(&dir, name) {
            Ok(listener) => return Ok(listener),
            Err(error) => why = error.to_string(),
        }
    }
    Err(on_a_line(&why))
}

fn on_a_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
