//! The way to a host: the machines that are passed, each with its settings, the host itself last.

use super::destination::Destination;
use super::route::Route;
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
    whole(asked, vec![settings(asked)?], settings)
}

/// As [`way`], by a route to the host: its last address stands for the host, `settings_at` gives that its settings.
///
/// # Errors
/// As [`way`].
pub fn way_by(
    asked: &Destination,
    route: &Route,
    settings: &dyn Fn(&Destination) -> Result<Settings, BadSettings>,
    settings_at: &dyn Fn(&Destination) -> Result<Settings, BadSettings>,
) -> Result<Vec<Settings>, NoWay> {
    let (gateways, address) = route.ends();
    let mut way: Vec<Settings> = gateways.iter().map(settings).collect::<Result<_, _>>()?;
    way.push(settings_at(address)?);
    whole(asked, way, settings)
}

/// The way with what is before its first machine.
fn whole(
    asked: &Destination,
    mut way: Vec<Settings>,
    settings: &dyn Fn(&Destination) -> Result<Settings, BadSettings>,
) -> Result<Vec<Settings>, NoWay> {
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

    use super::super::settings::{Item, Local, read, settle, settle_at};
    use super::*;

    fn passed(host: &str, config: &str) -> Result<Vec<String>, NoWay> {
        passed_by(host, host, config)
    }

    fn passed_by(host: &str, route: &str, config: &str) -> Result<Vec<String>, NoWay> {
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
        let asked = Destination::parse(host).unwrap();
        let settings = |machine: &Destination| settle(machine, &items, &local);
        let at = |address: &Destination| settle_at(&asked, address, &items, &local);
        let by = way_by(&asked, &Route::parse(route).unwrap(), &settings, &at)?;
        if route == host {
            assert_eq!(way(&asked, &settings)?, by);
        }
        let way = by;
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
    fn a_route_passes_the_machines_it_names_and_those_before_its_first() {
        let config = "Host nas\n User a\n HostName far\n Port 9\n ProxyJump never\n\
                      Host gate\n ProxyJump outer\nHost deep\n ProxyJump never\n";
        for (route, way) in [
            ("nas.lan", vec!["a@nas.lan:9"]),
            ("b@nas.lan:22", vec!["b@nas.lan:22"]),
            (
                "gate > deep > 10.0.0.7",
                vec!["me@outer:22", "me@gate:22", "me@deep:22", "a@10.0.0.7:9"],
            ),
            ("gate > nas", vec!["me@outer:22", "me@gate:22", "a@far:9"]),
        ] {
            assert_eq!(passed_by("nas", route, config).unwrap(), way, "{route}");
        }
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
