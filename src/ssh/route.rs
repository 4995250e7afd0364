//! A way to a host, as it is written: `gateway > nas.lan`.

use std::fmt;

use super::destination::{BadDestination, Destination};

/// More machines in a row than anybody passes.
const MACHINES_MAX: usize = 8;

/// The machines that are passed, and the address that the host has at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    gateways: Vec<Destination>,
    address: Destination,
}

/// Why it is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRoute {
    #[error(transparent)]
    Machine(#[from] BadDestination),
    #[error("`{0}` passes more than {MACHINES_MAX} machines")]
    Long(String),
}

impl Route {
    /// Parses `[GATEWAY >]… ADDRESS`, each a `[USER@]HOST[:PORT]`.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(text: &str) -> Result<Self, BadRoute> {
        let machines = text.split('>').map(|machine| Destination::parse(machine.trim()));
        let mut gateways = machines.collect::<Result<Vec<_>, _>>()?;
        if gateways.len() > MACHINES_MAX {
            return Err(BadRoute::Long(text.to_owned()));
        }
        // What is split has a part at least.
        let none = || BadRoute::Machine(BadDestination::NoHost(text.to_owned()));
        let address = gateways.pop().ok_or_else(none)?;
        Ok(Self { gateways, address })
    }

    /// The way that the ssh config has for a host.
    #[must_use]
    pub fn plain(host: Destination) -> Self {
        Self { gateways: Vec::new(), address: host }
    }

    /// The machines that are passed, and the last one.
    #[must_use]
    pub fn ends(&self) -> (&[Destination], &Destination) {
        (&self.gateways, &self.address)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for gateway in &self.gateways {
            write!(f, "{gateway} > ")?;
        }
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_is_printed() {
        for (text, printed) in [
            ("nas", "nas"),
            ("nas.lan:2222", "nas.lan:2222"),
            ("me@gate>nas", "me@gate > nas"),
            (" a >  b> [::1]:22", "a > b > [::1]:22"),
        ] {
            let route = Route::parse(text).unwrap();
            assert_eq!(route.to_string(), printed);
            assert_eq!(Route::parse(printed), Ok(route));
        }
    }

    #[test]
    fn what_leaves_out_a_machine_or_passes_too_many_is_none() {
        for text in ["", ">", "a >", "> a", "a > > b", "a > -x", "a b"] {
            assert!(Route::parse(text).is_err(), "{text:?} passed");
        }
        let long = ["a"; MACHINES_MAX + 1].join(">");
        assert_eq!(Route::parse(&long), Err(BadRoute::Long(long.clone())));
        assert!(Route::parse(&long[2..]).is_ok());
    }
}
