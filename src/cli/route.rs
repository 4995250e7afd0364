//! `yeet route`.

use super::RowArgs;
use super::error::CommandError;
use super::request::{collect, places};
use super::ui::{Field, Ui};
use crate::config::{Config, ROUTES_MAX};
use crate::service::host::ways;
use crate::sources::control::socket::{Client, ConnectError};
use crate::sources::control::wire::{Reply, Request, Way};
use crate::ssh::destination::Destination;
use crate::ssh::files::Here;
use crate::ssh::route::Route;

const AFTER: &str = "\
A ROUTE is [USER@]ADDRESS[:PORT], or GATEWAY > ADDRESS with one or more gateways before it. User, port, keys and the \
host's own key are those that ~/.ssh/config and known_hosts have for HOST, where they have none for the address. \
Routes are tried side by side, the first one a moment earlier; the first that works is used, a clearly better one is \
moved to, another one stands by and is used at once when the connection breaks. What ~/.ssh/config says of HOST is \
always a route.

STATE: used; ready (it stands by); works; failed; untried. WHY says why it is used, or failed.

Exit codes: 0 well; 2 usage; 3 cannot.

Examples:
  yeet route nas
  yeet route nas nas.lan 'gateway > nas'
  yeet route nas --default";

/// Print or set the ways to a host
#[derive(clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The host, as it is written in endpoints and ~/.ssh/config
    #[arg(value_name = "HOST")]
    host: String,
    /// The ways to it, the preferred one first
    #[arg(value_name = "ROUTE", conflicts_with = "default")]
    routes: Vec<String>,
    /// Only what ~/.ssh/config says
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    rows: RowArgs,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let usage = |error: &dyn std::fmt::Display| CommandError::usage(error.to_string());
    let asked = Destination::parse(&args.host).map_err(|error| usage(&error))?;
    let host = asked.host.clone();
    if args.routes.is_empty() && !args.default {
        return print(&asked, &args.rows, ui);
    }
    if args.routes.len() > ROUTES_MAX {
        return Err(CommandError::usage(format!("a host has at most {ROUTES_MAX} routes")));
    }
    let here = Here::from_env().map_err(CommandError::cannot)?;
    let mut routes = Vec::new();
    for text in &args.routes {
        let route = Route::parse(text).map_err(|error| usage(&error))?;
        here.way_by(&asked, &route).map_err(|error| usage(&error))?;
        routes.push(route);
    }
    let places = places()?;
    Config::set_routes(&places.config, &host, &routes).map_err(|error| usage(&error))?;
    match Client::connect(&places.runtime) {
        // One that is not there reads the file when it is started.
        Err(ConnectError::NoDaemon) => Ok(0),
        Err(error) => Err(error.into()),
        Ok(client) => {
            super::request::ask_with(client, ui, &Request::NewWays { host }, |_, _| Ok(()))
        }
    }
}

fn print(asked: &Destination, rows: &RowArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let places = places()?;
    let mut known = match Client::connect(&places.runtime) {
        Err(ConnectError::NoDaemon) => Vec::new(),
        Err(error) => return Err(error.into()),
        Ok(_) => {
            let request = Request::Ways { host: asked.host.clone() };
            let pick = |reply| match reply {
                Reply::Way(way) => Some(way),
                _ => None,
            };
            collect(ui, &request, pick)?.0
        }
    };
    if known.is_empty() {
        let written = ways(asked, Some(&places.config)).map_err(CommandError::usage)?;
        known = written
            .into_iter()
            .map(|(route, _)| Way {
                route: route.to_string(),
                state: "untried".to_owned(),
                rtt_ms: None,
                why: String::new(),
            })
            .collect();
    }
    let row = |way: Way| {
        vec![
            Field::Text(asked.host.clone()),
            Field::Text(way.route),
            Field::Text(way.state),
            way.rtt_ms.map_or(Field::None, Field::count),
            if way.why.is_empty() { Field::None } else { Field::Text(way.why) },
        ]
    };
    let lines: Vec<_> = known.into_iter().map(row).collect();
    ui.rows(&rows.format(), &["HOST", "ROUTE", "STATE", "RTT_MS", "WHY"], &lines)?;
    Ok(0)
}
