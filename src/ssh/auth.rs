//! Logging in: keys of the agent and of files first, then what a person can answer.
//!
//! Holds: everything that was tried is told; a passphrase or a password is asked for only where nothing else was
//! accepted, and never of nobody.

use std::sync::Arc;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Reply, Prompt};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{
    Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, decode_secret_key,
};
use russh::{MethodKind, MethodSet};

use super::ask::{Ask, Secret, printable};
use super::client::Host;
use super::error::{Outcome, SshError, Tried};
use super::files::Here;
use super::keys::{Key, Private, keys};
use super::known_hosts::fingerprint;
use super::settings::{Agent, Settings};

/// How often a person may mistype.
const TRIES: usize = 3;
/// How often a server may ask for one more method, or ask one more question.
const ROUNDS_MAX: usize = 16;

/// In the order in which they are tried.
const METHODS: [MethodKind; 3] =
    [MethodKind::PublicKey, MethodKind::KeyboardInteractive, MethodKind::Password];

type Boxed = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// What a method came to.
enum Step {
    In,
    /// It counts, and another one is wanted.
    Further,
    No,
}

pub(super) struct Login<'a> {
    handle: &'a mut Handle<Host>,
    settings: &'a Settings,
    here: &'a Here,
    ask: Arc<dyn Ask>,
    offered: MethodSet,
    tried: Vec<Tried>,
}

type Done<T> = Result<T, SshError>;

impl<'a> Login<'a> {
    pub(super) fn new(
        handle: &'a mut Handle<Host>,
        settings: &'a Settings,
        here: &'a Here,
        ask: Arc<dyn Ask>,
    ) -> Self {
        Self { handle, settings, here, ask, offered: MethodSet::empty(), tried: Vec::new() }
    }

    /// Logs in; what was tried, the last of which was accepted, and what the server had offered.
    pub(super) async fn run(mut self) -> Done<(Vec<Tried>, Vec<String>)> {
        let none = self.handle.authenticate_none(&self.settings.user).await;
        if let Step::In = self.note("none", String::new(), none.map_err(|e| self.lost(&e))?) {
            return Ok((self.tried, Vec::new()));
        }
        let mut offered = names(&self.offered);
        // To be offered less than everything and asked for more, again and again, has an end.
        'methods: for _ in 0..ROUNDS_MAX {
            for method in METHODS {
                if !self.offered.contains(&method) || !self.is_used(method) {
                    continue;
                }
                let step = if method == MethodKind::PublicKey {
                    self.by_keys().await?
                } else if method == MethodKind::KeyboardInteractive {
                    self.by_questions().await?
                } else {
                    self.by_password().await?
                };
                match step {
                    Step::In => return Ok((self.tried, offered)),
                    Step::Further => {
                        offered = names(&self.offered);
                        continue 'methods;
                    }
                    Step::No if self.handle.is_closed() => break 'methods,
                    Step::No => {}
                }
            }
            break;
        }
        Err(SshError::Auth {
            host: self.settings.host.clone(),
            user: self.settings.user.clone(),
            tried: self.tried,
            offered,
        })
    }

    fn is_used(&self, method: MethodKind) -> bool {
        if method == MethodKind::PublicKey {
            self.settings.uses_keys
        } else if method == MethodKind::KeyboardInteractive {
            self.settings.uses_questions
        } else {
            self.settings.uses_password
        }
    }

    async fn by_keys(&mut self) -> Done<Step> {
        let keys = keys(self.settings, self.here);
        let mut locked = Vec::new();
        let from_agent = self.by_agent(&keys).await?;
        if !matches!(from_agent.0, Step::No) {
            return Ok(from_agent.0);
        }
        for key in keys {
            if self.handle.is_closed() {
                return Ok(Step::No);
            }
            let is_shown = key.public.as_ref().is_some_and(|p| from_agent.1.contains(p.key_data()));
            let name = key.file.display().to_string();
            match key.private {
                _ if is_shown => {}
                Private::Open(private) => {
                    let step = self.by_private(&name, *private, key.certificate).await?;
                    if !matches!(step, Step::No) {
                        return Ok(step);
                    }
                }
                Private::Locked(text) => locked.push((name, text, key.certificate)),
                Private::Absent => {
                    self.skip(name, "its private half is neither there nor in an agent")
                }
                Private::Unusable(why) => self.skip(name, &why),
            }
        }
        for (name, text, certificate) in locked {
            if self.handle.is_closed() {
                break;
            }
            if let Some(private) = self.unlock(&name, text).await {
                let step = self.by_private(&name, private, certificate).await?;
                if !matches!(step, Step::No) {
                    return Ok(step);
                }
            }
        }
        Ok(Step::No)
    }

    async fn unlock(&mut self, name: &str, text: String) -> Option<PrivateKey> {
        for _ in 0..TRIES {
            let Some(secret) = self.answer(&format!("Passphrase of {name}: "), false).await else {
                self.skip(name.to_owned(), "it wants a passphrase, and nobody is there to ask");
                return None;
            };
            if secret.text().is_empty() {
                break;
            }
            if let Ok(key) = decode_secret_key(&text, Some(secret.text())) {
                return Some(key);
            }
            self.ask.tell("That does not open it.");
        }
        self.skip(name.to_owned(), "no passphrase opened it");
        None
    }

    async fn by_private(
        &mut self,
        name: &str,
        private: PrivateKey,
        certificate: Option<Certificate>,
    ) -> Done<Step> {
        let private = Arc::new(private);
        let user = self.settings.user.clone();
        if let Some(certificate) = certificate {
            let with = format!("{name} with certificate {}", certificate.key_id());
            let tried = self.handle.authenticate_openssh_cert(&user, private.clone(), certificate);
            let result = tried.await.map_err(|e| self.lost(&e))?;
            let step = self.note("publickey", with, result);
            if !matches!(step, Step::No) || self.handle.is_closed() {
                return Ok(step);
            }
        }
        let hash = self.hash_for(private.public_key()).await?;
        let key = PrivateKeyWithHashAlg::new(private, hash);
        let result = self.handle.authenticate_publickey(&user, key).await;
        let result = result.map_err(|e| self.lost(&e))?;
        Ok(self.note("publickey", name.to_owned(), result))
    }

    /// What the agent's keys came to, and which of them the server has seen.
    async fn by_agent(&mut self, keys: &[Key]) -> Done<(Step, Vec<KeyData>)> {
        let mut shown = Vec::new();
        let Some((mut agent, identities)) = self.identities().await else {
            return Ok((Step::No, shown));
        };
        let place = |identity: &AgentIdentity| {
            keys.iter().position(|key| {
                key.public
                    .as_ref()
                    .is_some_and(|p| *p.key_data() == *identity.public_key().key_data())
            })
        };
        let mut identities: Vec<_> = identities.into_iter().map(|i| (place(&i), i)).collect();
        identities.retain(|(at, _)| at.is_some() || !self.settings.identities_only);
        identities.sort_by_key(|(at, _)| at.unwrap_or(usize::MAX));
        for (_, identity) in identities {
            if self.handle.is_closed() {
                break;
            }
            let public = identity.public_key().into_owned();
            let with = format!("{} {} of the agent", identity.comment(), fingerprint(&public));
            let user = self.settings.user.clone();
            let hash = self.hash_for(&public).await?;
            let result = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    // Without its comment: a file's may be another one.
                    shown.push(public.key_data().clone());
                    self.handle.authenticate_publickey_with(&user, key, hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle
                        .authenticate_certificate_with(&user, certificate, hash, &mut agent)
                        .await
                }
            };
            let step = match result {
                Ok(result) => self.note("publickey", with, result),
                Err(error) => {
                    let outcome = Outcome::Skipped(format!("the agent did not sign: {error}"));
                    self.tried.push(Tried { method: "publickey", with, outcome });
                    Step::No
                }
            };
            if !matches!(step, Step::No) {
                return Ok((step, shown));
            }
        }
        Ok((Step::No, shown))
    }

    /// The agent and what it holds; what keeps it from being asked is told.
    async fn identities(&mut self) -> Option<(Boxed, Vec<AgentIdentity>)> {
        let agent = match &self.settings.agent {
            Agent::None => return None,
            Agent::Environment => match AgentClient::connect_env().await {
                Err(russh::keys::Error::EnvVar(_)) => return None,
                other => other.map(AgentClient::dynamic),
            },
            Agent::Socket(path) => AgentClient::connect_uds(path).await.map(AgentClient::dynamic),
        };
        let listed = match agent {
            Ok(mut agent) => agent.request_identities().await.map(|all| (agent, all)),
            Err(error) => Err(error),
        };
        listed
            .map_err(|error| self.skip("agent".to_owned(), &format!("it cannot be asked: {error}")))
            .ok()
    }

    async fn by_questions(&mut self) -> Done<Step> {
        let user = self.settings.user.clone();
        for _ in 0..TRIES {
            let started = self.handle.authenticate_keyboard_interactive_start(&user, None).await;
            let mut reply = started.map_err(|e| self.lost(&e))?;
            for _ in 0..ROUNDS_MAX {
                let Reply::InfoRequest { name, instructions, prompts } = reply else { break };
                let Some(answers) = self.answers(&name, &instructions, prompts).await else {
                    self.skip_method(
                        "keyboard-interactive",
                        "it asks, and nobody is there to answer",
                    );
                    return Ok(Step::No);
                };
                let answered = self.handle.authenticate_keyboard_interactive_respond(answers).await;
                reply = answered.map_err(|e| self.lost(&e))?;
            }
            let result = match reply {
                Reply::Success => AuthResult::Success,
                Reply::Failure { remaining_methods, partial_success } => {
                    AuthResult::Failure { remaining_methods, partial_success }
                }
                Reply::InfoRequest { .. } => {
                    self.skip_method("keyboard-interactive", "it asks without end");
                    return Ok(Step::No);
                }
            };
            let step = self.note("keyboard-interactive", String::new(), result);
            if !matches!(step, Step::No) || self.handle.is_closed() {
                return Ok(step);
            }
        }
        Ok(Step::No)
    }

    async fn answers(
        &self,
        name: &str,
        instructions: &str,
        prompts: Vec<Prompt>,
    ) -> Option<Vec<String>> {
        for text in [name, instructions] {
            if !text.trim().is_empty() {
                self.ask.tell(&printable(text));
            }
        }
        let mut answers = Vec::with_capacity(prompts.len());
        for Prompt { prompt, echo } in prompts {
            let prompt =
                format!("{}@{}: {}", self.settings.user, self.settings.host, printable(&prompt));
            answers.push(self.answer(&prompt, echo).await?.text().to_owned());
        }
        Some(answers)
    }

    async fn by_password(&mut self) -> Done<Step> {
        let user = self.settings.user.clone();
        for _ in 0..TRIES {
            let prompt = format!("Password of {user}@{}: ", self.settings.host);
            let Some(secret) = self.answer(&prompt, false).await else {
                self.skip_method("password", "nobody is there to ask");
                return Ok(Step::No);
            };
            let result = self.handle.authenticate_password(&user, secret.text()).await;
            let step = self.note("password", String::new(), result.map_err(|e| self.lost(&e))?);
            if !matches!(step, Step::No) || self.handle.is_closed() {
                return Ok(step);
            }
        }
        Ok(Step::No)
    }

    async fn answer(&self, prompt: &str, is_shown: bool) -> Option<Secret> {
        let (ask, prompt) = (self.ask.clone(), prompt.to_owned());
        tokio::task::spawn_blocking(move || ask.answer(&prompt, is_shown)).await.ok().flatten()
    }

    /// The hash an RSA key signs with. Other keys have none, and asking for it would cost a second with a server that
    /// says nothing of it.
    async fn hash_for(&self, key: &PublicKey) -> Done<Option<HashAlg>> {
        if !key.algorithm().is_rsa() {
            return Ok(None);
        }
        let best = self.handle.best_supported_rsa_hash().await.map_err(|e| self.lost(&e))?;
        // A server that does not say it is asked for what RFC 8332 has every server know.
        Ok(best.unwrap_or(Some(HashAlg::Sha256)))
    }

    fn note(&mut self, method: &'static str, with: String, result: AuthResult) -> Step {
        let (outcome, step) = match result {
            AuthResult::Success => (Outcome::Accepted, Step::In),
            AuthResult::Failure { remaining_methods, partial_success } => {
                if !remaining_methods.is_empty() {
                    self.offered = remaining_methods;
                }
                if partial_success {
                    (Outcome::Partial, Step::Further)
                } else {
                    (Outcome::Rejected, Step::No)
                }
            }
        };
        // That nobody is let in for nothing needs no telling.
        if method != "none" || outcome == Outcome::Accepted {
            self.tried.push(Tried { method, with, outcome });
        }
        step
    }

    fn skip(&mut self, with: String, why: &str) {
        self.tried.push(Tried {
            method: "publickey",
            with,
            outcome: Outcome::Skipped(why.to_owned()),
        });
    }

    fn skip_method(&mut self, method: &'static str, why: &str) {
        let outcome = Outcome::Skipped(why.to_owned());
        self.tried.push(Tried { method, with: String::new(), outcome });
    }

    fn lost(&self, error: &russh::Error) -> SshError {
        SshError::Lost { host: self.settings.host.clone(), why: error.to_string() }
    }
}

fn names(methods: &MethodSet) -> Vec<String> {
    methods.iter().map(|method| <&str>::from(method).to_owned()).collect()
}
