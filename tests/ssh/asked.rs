//! What only a person can answer: passwords and questions, at a server of the library's own, which asks what is wanted.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, Session, run_stream};
use russh::{Channel, ChannelId, MethodKind, MethodSet};

use super::server::{Home, Script, Server, has};
use super::{at, nobody};
use yeet::ssh::error::Reason;

/// What lets a user in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    Password,
    Answers,
    /// The password, and then the answers.
    Both,
    /// Ever more answers.
    Everything,
}

struct Porter {
    wants: Wants,
    has_password: bool,
}

fn rejected(next: &[MethodKind], partial_success: bool) -> Auth {
    Auth::Reject { proceed_with_methods: Some(MethodSet::from(next)), partial_success }
}

impl Handler for Porter {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, russh::Error> {
        let is_right = password == "correct horse";
        Ok(match self.wants {
            Wants::Password if is_right => Auth::Accept,
            Wants::Both if is_right => {
                self.has_password = true;
                rejected(&[MethodKind::KeyboardInteractive], true)
            }
            Wants::Answers | Wants::Everything => Auth::UnsupportedMethod,
            Wants::Password | Wants::Both => rejected(&[MethodKind::Password], false),
        })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let answers: Option<Vec<Vec<u8>>> = response.map(|all| all.map(|a| a.to_vec()).collect());
        let ask = Auth::Partial {
            name: Cow::Borrowed("Two things"),
            instructions: Cow::Borrowed("\x1b[2JLook at your token."),
            prompts: Cow::Borrowed(&[
                (Cow::Borrowed("Code: "), true),
                (Cow::Borrowed("PIN: "), false),
            ]),
        };
        let is_right = answers.as_deref() == Some(&[b"17".to_vec(), b"4".to_vec()]);
        Ok(match (self.wants, answers.is_some()) {
            (Wants::Password, _) => Auth::UnsupportedMethod,
            (Wants::Both, _) if !self.has_password => rejected(&[MethodKind::Password], false),
            (Wants::Everything, _) | (_, false) => ask,
            (_, true) if is_right => Auth::Accept,
            (_, true) => rejected(&[MethodKind::KeyboardInteractive], false),
        })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

fn server(home: &Home, wants: Wants) -> Server {
    home.key("keys/porter", "ed25519", "");
    let key = PrivateKey::from_openssh(home.read("keys/porter")).unwrap();
    let methods: &[MethodKind] = match wants {
        Wants::Password | Wants::Both => &[MethodKind::Password],
        Wants::Answers | Wants::Everything => &[MethodKind::KeyboardInteractive],
    };
    let config = Arc::new(Config {
        keys: vec![key],
        methods: MethodSet::from(methods),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..Config::default()
    });
    Server::new(move |stream| {
        let config = config.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                stream.set_nonblocking(true).unwrap();
                let stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let porter = Porter { wants, has_password: false };
                if let Ok(session) = run_stream(config, stream, porter).await {
                    drop(session.await);
                }
            });
        });
    })
}

fn home(wants: Wants) -> Option<(Home, Server)> {
    if !has("ssh-keygen") {
        return None;
    }
    let home = Home::new();
    let server = server(&home, wants);
    at(&home, &server);
    Some((home, server))
}

#[test]
fn a_password_is_asked_for_until_it_is_right() {
    let Some((home, _server)) = home(Wants::Password) else { return };
    let script = Script::of(&["battery staple", "correct horse"]);
    assert!(home.run("nas", script.clone(), "true").unwrap().is_well());
    let asked = script.questions();
    assert!(asked.len() == 2 && asked[0].ends_with("@nas: "), "{asked:?}");
    let script = Script::of(&["a", "b", "c", "d"]);
    let error = home.run("nas", script.clone(), "true").unwrap_err();
    assert_eq!((error.reason(), script.questions().len()), (Reason::Auth, 3), "{error}");
}

#[test]
fn questions_are_passed_on_without_what_could_move_a_cursor() {
    let Some((home, _server)) = home(Wants::Answers) else { return };
    let script = Script::of(&["17", "4"]);
    assert!(home.run("nas", script.clone(), "true").unwrap().is_well());
    let asked = script.questions();
    assert!(asked[0].ends_with("Code: ") && asked[1].ends_with("PIN: "), "{asked:?}");
    assert!(asked.iter().all(|q| !q.contains('\x1b')), "{asked:?}");
}

#[test]
fn a_server_may_want_a_password_and_then_answers() {
    let Some((home, _server)) = home(Wants::Both) else { return };
    let script = Script::of(&["correct horse", "17", "4"]);
    assert!(home.run("nas", script, "true").unwrap().is_well());
}

#[test]
fn nobody_is_asked_where_nobody_is_there() {
    for wants in [Wants::Password, Wants::Answers] {
        let Some((home, _server)) = home(wants) else { return };
        let error = home.run("nas", nobody(), "true").unwrap_err();
        assert_eq!(error.reason(), Reason::Auth);
        assert!(error.to_string().contains("nobody is there"), "{error}");
    }
}

#[test]
fn a_server_that_asks_without_end_is_left() {
    let Some((home, _server)) = home(Wants::Everything) else { return };
    let script = Script::of(&["x"; 100]);
    let error = home.run("nas", script, "true").unwrap_err();
    assert!(error.to_string().contains("it asks without end"), "{error}");
}
