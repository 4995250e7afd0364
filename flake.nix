# How yeet is built for other machines, and what has to hold of it: `nix build`, `nix build .#agents`, `nix flake check`.
# docs/design/building.md says what of this was run, and how it is built without nix.
{
  description = "yeet keeps directories the same, continuously, and can say why";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    crane.url = "github:ipetkov/crane";
    rust-overlay = {
      url = "github:oxalica/rust-overlay";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
      rust-overlay,
    }:
    let
      # Where it can be built, and the machine that each of them is.
      systems = {
        x86_64-linux = "x86_64";
        aarch64-linux = "aarch64";
      };

      # What it is built for, by what a machine calls itself (`uname -m`): yeet looks for its agent by that name.
      machines = {
        x86_64 = {
          rust = "x86_64-unknown-linux-musl";
          gnu = "x86_64-unknown-linux-musl";
        };
        aarch64 = {
          rust = "aarch64-unknown-linux-musl";
          gnu = "aarch64-unknown-linux-musl";
        };
        armv7l = {
          rust = "armv7-unknown-linux-musleabihf";
          gnu = "armv7l-unknown-linux-musleabihf";
        };
      };

      eachSystem = builtins.mapAttrs (system: machine: { inherit system machine; }) systems;
      forSystems = of: builtins.mapAttrs (_: of) eachSystem;

      pkgsOf =
        system:
        import nixpkgs {
          inherit system;
          overlays = [ (import rust-overlay) ];
        };

      # One file that asks for nothing: no interpreter, no library.
      static =
        system: machine:
        let
          pkgs = pkgsOf system;
          target = machines.${machine};
          cross = import nixpkgs {
            inherit system;
            crossSystem.config = target.gnu;
          };
          cc = "${cross.stdenv.cc}/bin/${cross.stdenv.cc.targetPrefix}cc";
          name = builtins.replaceStrings [ "-" ] [ "_" ] target.rust;
          craneLib = (crane.mkLib pkgs).overrideToolchain (
            p: p.rust-bin.stable.latest.minimal.override { targets = [ target.rust ]; }
          );
          args = {
            src = craneLib.cleanCargoSource self;
            strictDeps = true;
            # They are a check of their own: what is built for another machine does not run here.
            doCheck = false;
            CARGO_BUILD_TARGET = target.rust;
            CARGO_BUILD_RUSTFLAGS = "-C target-feature=+crt-static";
            "CC_${name}" = cc;
            "CARGO_TARGET_${pkgs.lib.toUpper name}_LINKER" = cc;
          };
        in
        craneLib.buildPackage (
          args
          // {
            cargoArtifacts = craneLib.buildDepsOnly args;
            meta = {
              description = "Keeps directories the same, continuously, and can say why";
              license = [
                pkgs.lib.licenses.mit
                pkgs.lib.licenses.asl20
              ];
              mainProgram = "yeet";
            };
          }
        );

      # What goes into $XDG_DATA_HOME/yeet/agents, for hosts of every kind.
      agents =
        system:
        let
          copy = machine: ''
            cp ${static system machine}/bin/yeet $out/yeet-${machine}-linux
          '';
          copies = map copy (builtins.attrNames machines);
        in
        (pkgsOf system).runCommand "yeet-agents" { } ''
          mkdir $out
          ${builtins.concatStringsSep "" copies}
        '';

      # For who works on it: the usual toolchain, linked as usual.
      development =
        system:
        let
          pkgs = pkgsOf system;
          craneLib = (crane.mkLib pkgs).overrideToolchain (p: p.rust-bin.stable.latest.default);
          args = {
            src = self;
            strictDeps = true;
          };
          built = args // {
            cargoArtifacts = craneLib.buildDepsOnly args;
          };
        in
        {
          inherit pkgs craneLib;
          checks = {
            fmt = craneLib.cargoFmt { src = self; };
            clippy = craneLib.cargoClippy (built // { cargoClippyExtraArgs = "--all-targets -- -D warnings"; });
            tests = craneLib.cargoTest (
              built
              // {
                nativeCheckInputs = [
                  pkgs.dropbear
                  pkgs.git
                  pkgs.iproute2
                  pkgs.openssh
                  pkgs.tcsh
                  pkgs.tinyssh
                ];
              }
            );
            # What is known to be bad changes every day, and is asked for where there is a network.
            deny = craneLib.cargoDeny {
              src = self;
              cargoDenyChecks = "bans licenses sources";
            };
          };
        };
    in
    {
      packages = forSystems (
        { system, machine }:
        builtins.mapAttrs (name: _: static system name) machines
        // {
          default = static system machine;
          agents = agents system;
        }
      );

      checks = forSystems ({ system, ... }: (development system).checks // { agents = agents system; });

      devShells = forSystems (
        { system, ... }:
        let
          inherit (development system) pkgs craneLib;
        in
        {
          default = craneLib.devShell {
            packages = [
              pkgs.cargo-deny
              pkgs.git
              pkgs.just
              pkgs.openssh
            ];
          };
        }
      );

      formatter = forSystems ({ system, ... }: (pkgsOf system).nixfmt);
    };
}
