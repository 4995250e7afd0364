//! One attempt to reach a host by one route, on a thread of its own, which then carries what is said.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::places::Places;
use crate::ssh::ask::Ask;
use crate::ssh::bootstrap::Programs;
use crate::ssh::contact::{NoContact, reach};
use crate::ssh::destination::Destination;
use crate::ssh::files::Here;
use crate::ssh::peer::Peer;
use crate::ssh::route::Route;
use crate::sys;

/// The programs that can be copied to hosts.
///
/// # Errors
/// This program's own file, or the user's places, are not known.
pub fn programs() -> Result<Programs, String> {
    // What runs, also where its file has been replaced by a newer one since it was started.
    let running = PathBuf::from("/proc/self/exe");
    let own = match running.exists() {
        true => running,
        false => std::env::current_exe()
            .map_err(|e| format!("this program's own file is not known: {e}"))?,
    };
    let places = Places::from_env()?;
    Ok(Programs { own, others: places.data.join("agents") })
}

/// How far an attempt is.
pub(super) enum Step {
    /// The host is logged in to; it waits to be told to go on.
    Reached,
    Up(Arc<Peer>),
    Failed(NoContact),
}

/// An attempt that is under way; dropped before it was told to go on, it is given up.
pub(super) struct Attempt(oneshot::Sender<()>);

impl Attempt {
    /// `tell` is called with each step.
    pub(super) fn start(
        host: Destination,
        route: Route,
        ask: Arc<dyn Ask>,
        tell: impl Fn(Step) + Clone + Send + 'static,
    ) -> Self {
        let (go, may_go) = oneshot::channel();
        let failed = tell.clone();
        let thread = move || match prepared() {
            Ok((runtime, here, programs)) => {
                runtime.block_on(run(host, route, ask, tell, may_go, (here, programs)));
            }
            Err(why) => tell(Step::Failed(NoContact::Here(why))),
        };
        if let Err(error) = std::thread::Builder::new().name("host".to_owned()).spawn(thread) {
            failed(Step::Failed(NoContact::Here(format!("cannot start a thread: {error}"))));
        }
        Self(go)
    }

    /// Has it see to the agent there, and start it.
    pub(super) fn go_on(self) {
        // One that has ended says why.
        self.0.send(()).unwrap_or_default();
    }
}

fn prepared() -> Result<(tokio::runtime::Runtime, Here, Programs), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok((runtime.map_err(|error| error.to_string())?, Here::from_env()?, programs()?))
}

async fn run(
    host: Destination,
    route: Route,
    ask: Arc<dyn Ask>,
    tell: impl Fn(Step),
    mut may_go: oneshot::Receiver<()>,
    (here, programs): (Here, Programs),
) {
    let now_s = u64::try_from(sys::now_ns() / 1_000_000_000).unwrap_or_default();
    let reached = tokio::select! {
        reached = reach(&host, route, here, ask, now_s) => reached,
        // It is told to go on only once it is there.
        _ = &mut may_go => return,
    };
    let reached = match reached {
        Ok(reached) => reached,
        Err(error) => return tell(Step::Failed(error)),
    };
    tell(Step::Reached);
    if may_go.await.is_err() {
        return reached.close().await;
    }
    match reached.start(&programs).await {
        Ok(contact) => contact.carry(|peer| tell(Step::Up(Arc::new(peer)))).await,
        Err(error) => tell(Step::Failed(error)),
    }
}
