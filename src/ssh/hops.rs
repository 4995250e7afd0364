//! The way to a host: the machines that are passed, each with its settings, the host itself last.

use super::destination::Destination;
use super::settings::{BadSettings, Settings};

/// More machines in a row than anybody has.
const HOPS_MAX: usize = 8;

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    #[error(transparent)]
    Settings(#[from] BadSettings),
    #[error(
        "the way to {0} passes more than {HOPS_MAX} hosts: does a ProxyJump lead back to itself?"
    )]
    Endless(Destination),
}

/// All machines on the way, in the order in which they are passed.
///
/// As ssh does it: the first of the named jumps is reached as its own settings say, the others through the one before.
///
/// # Errors
/// Settings are wrong, or jumps lead back to where they began.
pub fn way(
    asked: &Destination,
    settings: &dyn Fn(&Destination) -> Result<Settings, BadSettings>,
) -> Result<Vec<Settings>, NoWay> {
    let mut way = vec![settings(asked)?];
    while let Some((first, between)) = way[0].jumps.clone().split_first() {
        if way.len() + between.len() >= HOPS_MAX {
            return Err(NoWay::Endless(asked.clone()));
        }
        let between: Result<Vec<_>, _> = between.iter().map(settings).collect();
        way.splice(0..0, between?);
        way.insert(0, settings(first)?);
    }
    Ok(way)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::super::settings::{Item, Local, read, settle};
    use super::*;

    fn passed(host: &str, config: &str) -> Result<Vec<String>, NoWay> {
        let items: Vec<Item> = read(&Arc::from(Path::new("config")), config)
            .into_iter()
            .map(|line| Item::Line(line.unwrap()))
            .collect();
        let local = Local {
            user: "me",
            home: PathBuf::from("/home/me"),
            uid: 7,
            hostname: "box",
            variable: &|_| None,
        };
        let way = way(&Destination::parse(host).unwrap(), &|asked| settle(asked, &items, &local))?;
        Ok(way.into_iter().map(|s| format!("{}@{}:{}", s.user, s.hostname, s.port)).collect())
    }

    #[test]
    fn every_host_on_the_way_has_its_own_settings() {
        let config = "Host nas\n ProxyJump gate,b@inner:3\nHost gate\n HostName gate.example\n ProxyJump outer\n\
                      Host inner\n ProxyJump never\n";
        assert_eq!(
            passed("nas", config).unwrap(),
            ["me@outer:22", "me@gate.example:22", "b@inner:3", "me@nas:22"]
        );
        assert_eq!(passed("pi", config).unwrap(), ["me@pi:22"]);
    }

    #[test]
    fn jumps_that_lead_back_are_refused() {
        for config in
            ["Host *\n ProxyJump gate\n", "Host nas\n ProxyJump a\nHost a\n ProxyJump nas\n"]
        {
            assert!(matches!(passed("nas", config), Err(NoWay::Endless(_))), "{config}");
        }
    }
}
