//! What `flake.nix` offers, evaluated without a network: its inputs are stubs that only say what they were asked for.
//!
//! Holds: nothing is built here. What was is in docs/design/building.md.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is skipped is said")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const MACHINES: [(&str, &str); 3] = [
    ("x86_64", "x86_64-unknown-linux-musl"),
    ("aarch64", "aarch64-unknown-linux-musl"),
    ("armv7l", "armv7-unknown-linux-musleabihf"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One of the outputs; `None` where nix is not installed.
fn output(name: &str) -> Option<Value> {
    let store = tempfile::tempdir().unwrap();
    let evaluated = Command::new("nix-instantiate")
        .args(["--eval", "--strict", "--json", "-A", name])
        .arg(root().join("tests/flake/outputs.nix"))
        // It keeps what it knows of itself there, and asks for no daemon.
        .env("NIX_REMOTE", format!("local?root={}", store.path().display()))
        .env("HOME", store.path())
        .output();
    let Ok(evaluated) = evaluated else {
        println!("skipped: nix-instantiate is not installed (Debian: nix-bin)");
        return None;
    };
    let said = String::from_utf8_lossy(&evaluated.stderr);
    assert!(evaluated.status.success(), "{name}: {said}");
    Some(serde_json::from_slice(&evaluated.stdout).unwrap())
}

#[test]
fn on_each_system_it_is_built_for_every_machine_as_one_static_file() {
    let Some(packages) = output("packages") else { return };
    for (system, own) in [("x86_64-linux", "x86_64"), ("aarch64-linux", "aarch64")] {
        let of = &packages[system];
        for (machine, target) in MACHINES {
            let package = &of[machine];
            assert_eq!(package["CARGO_BUILD_TARGET"], target);
            assert_eq!(package["CARGO_BUILD_RUSTFLAGS"], "-C target-feature=+crt-static");
            assert_eq!(package["toolchain"]["targets"][0], target);
            let name = target.replace('-', "_");
            // The one compiler is for C, and the other joins what both made.
            let cc = package[format!("CC_{name}")].as_str().unwrap();
            assert!(cc.ends_with("-cc") && cc.contains(machine), "{cc}");
            assert_eq!(package[format!("CARGO_TARGET_upper({name})_LINKER")], cc);
        }
        assert_eq!(of["default"], of[own]);
    }
}

/// `ssh/bootstrap`, `program`: `yeet-<machine>-<system>`, as `uname` has them.
#[test]
fn an_agent_has_the_name_by_which_yeet_looks_for_it() {
    let Some(packages) = output("packages") else { return };
    let script = packages["x86_64-linux"]["agents"]["script"].as_str().unwrap();
    for (machine, target) in MACHINES {
        let copy = format!("cp /yeet/{target}/bin/yeet $out/yeet-{machine}-linux\n");
        assert!(script.contains(&copy), "{copy}{script}");
    }
}

#[test]
fn what_is_checked_is_what_ci_checks() {
    let Some(checks) = output("checks") else { return };
    let of = checks["x86_64-linux"].as_object().unwrap();
    let names: Vec<&str> = of.keys().map(String::as_str).collect();
    assert_eq!(names, ["agents", "clippy", "deny", "fmt", "tests"]);
    assert_eq!(of["clippy"]["cargoClippyExtraArgs"], "--all-targets -- -D warnings");
    let shell = output("devShells").unwrap();
    assert!(shell["x86_64-linux"]["default"]["packages"].is_array());
    assert_eq!(output("formatter").unwrap()["x86_64-linux"], "nixfmt");
}

#[test]
fn the_lock_has_a_revision_and_a_hash_of_every_input() {
    let lock: Value =
        serde_json::from_slice(&std::fs::read(root().join("flake.lock")).unwrap()).unwrap();
    assert_eq!((&lock["version"], &lock["root"]), (&7.into(), &"root".into()));
    let flake = std::fs::read_to_string(root().join("flake.nix")).unwrap();
    let inputs = lock["nodes"]["root"]["inputs"].as_object().unwrap();
    assert_eq!(inputs.keys().collect::<Vec<_>>(), ["crane", "nixpkgs", "rust-overlay"]);
    for input in inputs.keys() {
        let node = &lock["nodes"][input];
        let (locked, original) = (&node["locked"], &node["original"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut url = format!("github:{}/{}", text(&original["owner"]), text(&original["repo"]));
        if let Some(of) = original["ref"].as_str() {
            url = format!("{url}/{of}");
        }
        assert!(flake.contains(&format!("url = \"{url}\";")), "{input}: {url}");
        assert_eq!(text(&locked["rev"]).len(), 40, "{input}");
        assert!(text(&locked["narHash"]).starts_with("sha256-"), "{input}");
    }
}
