//! Tests of the engine: scenarios as scripts, random histories against plain maps, and loops that close.

mod convergence;
mod derived;
mod histories;
mod loading;
mod meanings;
mod names;
mod oracle;
mod scenarios;
mod script;
mod toy;
