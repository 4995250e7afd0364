//! The ways to one host: which is tried first, which of two is the better one, which is worth another try.
//!
//! Holds: one that works is left only for one that is clearly better, or because it broke.

use std::time::Duration;

use super::route::Route;

/// A machine that is passed costs as much as so long a round trip: it copies every byte once more.
const GATEWAY: Duration = Duration::from_millis(20);
/// A better way is faster by this part and by this time.
const BETTER_PARTS: f64 = 0.7;
const BETTER_BY: Duration = Duration::from_millis(5);

/// How long a host takes to answer on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    pub mean: Duration,
    pub deviation: Duration,
}

impl Rtt {
    #[must_use]
    pub fn of(first: Duration) -> Self {
        Self { mean: first, deviation: first / 2 }
    }

    /// With one more measured (RFC 6298, section 2).
    #[must_use]
    pub fn with(self, measured: Duration) -> Self {
        let off = self.mean.abs_diff(measured);
        Self { mean: (self.mean * 7 + measured) / 8, deviation: (self.deviation * 3 + off) / 4 }
    }
}

/// How a way did when it was tried last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Untried,
    /// It works, or did when it was given up for a better one.
    Works(Rtt),
    Failed(String),
}

/// A way, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub route: Route,
    /// How many machines are passed, with those that only the ssh config names.
    pub gateways: u32,
    pub standing: Standing,
}

impl Known {
    /// How dear it is to use; `None` if nobody knows.
    fn cost(&self) -> Option<Duration> {
        match self.standing {
            Standing::Works(rtt) => Some(rtt.mean + rtt.deviation * 4 + GATEWAY * self.gateways),
            Standing::Untried | Standing::Failed(_) => None,
        }
    }
}

/// All ways to a host, in the order in which they are preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<Known>);

impl Routes {
    /// These are the ways now; what is known of those that stay is kept.
    pub fn set(&mut self, routes: Vec<(Route, u32)>) {
        let before = std::mem::take(&mut self.0);
        self.0 = routes
            .into_iter()
            .map(|(route, gateways)| {
                let was = before.iter().find(|known| known.route == route);
                let standing = was.map_or(Standing::Untried, |known| known.standing.clone());
                Known { route, gateways, standing }
            })
            .collect();
    }

    #[must_use]
    pub fn all(&self) -> &[Known] {
        &self.0
    }

    pub fn note(&mut self, route: &Route, standing: Standing) {
        if let Some(known) = self.get_mut(route) {
            known.standing = standing;
        }
    }

    fn get(&self, route: &Route) -> Option<&Known> {
        self.0.iter().find(|known| known.route == *route)
    }

    fn get_mut(&mut self, route: &Route) -> Option<&mut Known> {
        self.0.iter_mut().find(|known| known.route == *route)
    }

    /// In which order they are tried: those that failed last time come last, else as they are preferred.
    #[must_use]
    pub fn to_try(&self) -> Vec<Route> {
        let mut all: Vec<&Known> = self.0.iter().collect();
        all.sort_by_key(|known| matches!(known.standing, Standing::Failed(_)));
        all.into_iter().map(|known| known.route.clone()).collect()
    }

    /// Whether it is worth to leave a way that works for another one that does. One that is not a way any more is always left.
    #[must_use]
    pub fn is_better(&self, other: &Route, used: &Route) -> bool {
        let Some(other) = self.get(other) else { return false };
        let Some(used) = self.get(used) else { return true };
        match (other.cost(), used.cost()) {
            (Some(other), Some(used)) => {
                other + BETTER_BY < used && other < used.mul_f64(BETTER_PARTS)
            }
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Those that are worth another try while `used` works: what is preferred to it, and what passes fewer machines; where it
    /// `is_alone`, all, for one has to stand by.
    #[must_use]
    pub fn worth_trying(&self, used: &Route, is_alone: bool) -> Vec<Route> {
        let Some(at) = self.0.iter().position(|known| known.route == *used) else {
            return self.to_try();
        };
        let gateways = self.0[at].gateways;
        let is_worth = |(i, known): &(usize, &Known)| {
            let is_up = matches!(known.standing, Standing::Works(_));
            let (preferred, shorter) = (*i < at, known.gateways < gateways);
            *i != at && (is_alone || ((preferred || shorter) && !is_up))
        };
        self.0.iter().enumerate().filter(is_worth).map(|(_, known)| known.route.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        Route::parse(text).unwrap()
    }

    fn routes(all: &[(&str, u32)]) -> Routes {
        let mut routes = Routes::default();
        routes.set(all.iter().map(|(text, gateways)| (route(text), *gateways)).collect());
        routes
    }

    fn works(ms: u64) -> Standing {
        Standing::Works(Rtt { mean: Duration::from_millis(ms), deviation: Duration::ZERO })
    }

    #[test]
    fn what_failed_last_time_is_tried_last_and_nothing_is_left_out() {
        let mut routes = routes(&[("lan", 0), ("vpn", 0), ("gate > nas", 1)]);
        assert_eq!(routes.to_try(), [route("lan"), route("vpn"), route("gate > nas")]);
        routes.note(&route("lan"), Standing::Failed("no answer".to_owned()));
        assert_eq!(routes.to_try(), [route("vpn"), route("gate > nas"), route("lan")]);
        routes.note(&route("lan"), works(1));
        assert_eq!(routes.to_try()[0], route("lan"));
    }

    #[test]
    fn a_way_that_works_is_left_for_a_clearly_better_one_alone() {
        // (used, other, whether it is left), in ms.
        for (used, other, is_left) in
            [(10, 9, false), (10, 6, false), (20, 13, true), (100, 80, false), (100, 60, true)]
        {
            let mut routes = routes(&[("a", 0), ("b", 0)]);
            routes.note(&route("a"), works(used));
            routes.note(&route("b"), works(other));
            assert_eq!(routes.is_better(&route("b"), &route("a")), is_left, "{used} {other}");
        }
    }

    #[test]
    fn a_machine_that_is_passed_counts_for_a_longer_way() {
        let mut routes = routes(&[("gate > nas", 1), ("lan", 0)]);
        routes.note(&route("gate > nas"), works(1));
        routes.note(&route("lan"), works(9));
        assert!(routes.is_better(&route("lan"), &route("gate > nas")));
        assert!(!routes.is_better(&route("gate > nas"), &route("lan")));
    }

    #[test]
    fn one_that_is_no_way_any_more_is_left_and_one_that_does_not_work_is_not_taken() {
        let mut routes = routes(&[("a", 0), ("b", 0)]);
        assert!(!routes.is_better(&route("b"), &route("a")));
        routes.note(&route("b"), works(500));
        assert!(routes.is_better(&route("b"), &route("gone")));
        assert!(!routes.is_better(&route("gone"), &route("b")));
    }

    #[test]
    fn what_could_be_better_is_worth_another_try_and_what_works_already_is_not_dialed_again() {
        let mut routes = routes(&[("lan", 0), ("gate > nas", 1), ("vpn", 0), ("far > nas", 2)]);
        routes.note(&route("gate > nas"), works(9));
        assert_eq!(routes.worth_trying(&route("gate > nas"), false), [route("lan"), route("vpn")]);
        routes.note(&route("lan"), works(1));
        assert!(routes.worth_trying(&route("lan"), false).is_empty());
        assert_eq!(routes.worth_trying(&route("gate > nas"), false), [route("vpn")]);
        assert_eq!(routes.worth_trying(&route("gone"), false).len(), 4);
    }

    #[test]
    fn where_none_stands_by_the_worse_ones_are_worth_another_try_too() {
        let mut routes = routes(&[("lan", 0), ("gate > nas", 1), ("vpn", 0)]);
        routes.note(&route("lan"), works(1));
        routes.note(&route("vpn"), works(9));
        let others = [route("gate > nas"), route("vpn")];
        assert_eq!(routes.worth_trying(&route("lan"), true), others);
        assert!(routes.worth_trying(&route("lan"), false).is_empty());
    }

    #[test]
    fn what_is_known_of_a_way_outlives_a_change_of_the_others() {
        let mut known = routes(&[("a", 0), ("b", 0)]);
        known.note(&route("b"), works(3));
        known.set(vec![(route("c"), 0), (route("b"), 0)]);
        assert_eq!(known.all()[1].standing, works(3));
        assert_eq!(known.all()[0].standing, Standing::Untried);
    }

    #[test]
    fn a_round_trip_counts_for_more_where_it_varies() {
        let steady = (0..50)
            .fold(Rtt::of(Duration::from_millis(10)), |rtt, _| rtt.with(Duration::from_millis(10)));
        assert_eq!(steady.mean, Duration::from_millis(10));
        assert!(steady.deviation < Duration::from_micros(10));
        let shaky = (0..50).fold(steady, |rtt, i| rtt.with(Duration::from_millis(1 + i % 2 * 18)));
        assert!(shaky.deviation > Duration::from_millis(5));
    }
}
