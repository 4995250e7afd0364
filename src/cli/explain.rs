//! `yeet explain`.

use std::ffi::OsString;

use super::error::CommandError;
use super::request::collect;
use super::target;
use super::ui::{Ui, escape};
use super::when::print_ms;
use crate::sources::control::wire::{Explanation, Reply, Request};

/// Tell what each side holds at a path, what was agreed, what is to happen, and why
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::path(&args.path, args.sync.as_ref())?;
    let (found, code) = collect(ui, &Request::Explain { target }, |reply| match reply {
        Reply::Explanation(explanation) => Some(explanation),
        _ => None,
    })?;
    for explanation in found {
        if args.json {
            let mut value = serde_json::to_value(&explanation)
                .map_err(|error| CommandError::cannot(error.to_string()))?;
            value["schema"] = 1.into();
            value["path"] = escape(explanation.path.as_bytes()).into();
            for act in value["acts"].as_array_mut().into_iter().flatten() {
                act["path"] = escape(explanation.path.as_bytes()).into();
            }
            ui.json(&value)?;
        } else {
            print(ui, &explanation)?;
        }
    }
    Ok(code)
}

fn print(ui: &mut Ui, e: &Explanation) -> Result<(), CommandError> {
    let path = if e.path.is_root() { ".".to_owned() } else { escape(e.path.as_bytes()) };
    ui.text(&format!("{path}: {}", e.summary))?;
    ui.text(&format!("sync\t{}", e.name))?;
    for holding in &e.holdings {
        ui.text(&format!("holds\t{}\t{}", holding.replica, holding.holds))?;
    }
    for holding in &e.holdings {
        let replica = &holding.replica;
        if let Some(agreed) = &holding.agreed {
            ui.text(&format!("agreed\t{replica}\t{agreed}"))?;
        }
        if let Some(verdict) = &holding.verdict {
            ui.text(&format!("verdict\t{replica}\t{verdict}"))?;
        }
        if let Some(rule) = &holding.rule {
            ui.text(&format!("rule\t{replica}\t{rule}"))?;
        }
        if let Some(waits) = &holding.waits {
            ui.text(&format!("waits\t{replica}\t{waits}"))?;
        }
    }
    for note in &e.notes {
        ui.text(&format!("note\t{note}"))?;
    }
    for act in &e.acts {
        let digest = |d: Option<crate::dataflow::model::value::Digest>| {
            d.map_or_else(|| "-".to_owned(), |d| d.to_string())
        };
        let (when, old, new) = (print_ms(act.when_ms), digest(act.old), digest(act.new));
        ui.text(&format!("act\t{when}\t{}\t{}\t{old}\t{new}", act.act, act.replica))?;
    }
    for command in &e.commands {
        ui.text(&format!("do\t{command}"))?;
    }
    Ok(())
}
