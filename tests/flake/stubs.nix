# What flake.nix takes from its inputs, as far as its own outputs need it to be evaluated: each of these only says what
# it was asked for.
let
  word = name: rest: { inherit name; } // rest;
  toolchain = word "toolchain" { override = args: word "toolchain" args; };
  pkgs = args: {
    inherit args;
    inherit (args) system;
    lib = {
      licenses = {
        mit = "MIT";
        asl20 = "Apache-2.0";
      };
      # Only whether it was made large is of interest.
      toUpper = text: "upper(${text})";
    };
    rust-bin.stable.latest = {
      minimal = toolchain;
      default = toolchain;
    };
    runCommand = name: env: script: word name { inherit script; };
    stdenv.cc = {
      outPath = "/cc/${args.crossSystem.config or "native"}";
      targetPrefix = if args ? crossSystem then "${args.crossSystem.config}-" else "";
    };
    cargo-deny = "cargo-deny";
    dropbear = "dropbear";
    git = "git";
    iproute2 = "iproute2";
    just = "just";
    nixfmt = "nixfmt";
    openssh = "openssh";
    tcsh = "tcsh";
    tinyssh = "tinyssh";
  };
  lib = p: toolchain: {
    overrideToolchain = of: lib p (of p);
    cleanCargoSource = source: source;
    buildPackage = args: {
      outPath = "/yeet/${args.CARGO_BUILD_TARGET}";
      asked = args // { inherit toolchain; };
    };
    buildDepsOnly = args: word "dependencies" { };
    cargoFmt = word "fmt";
    cargoClippy = word "clippy";
    cargoTest = word "tests";
    cargoDeny = word "deny";
    devShell = word "shell";
  };
in
{
  inherit pkgs;
  self = "/self";
  crane.mkLib = p: lib p null;
}
