# The outputs of flake.nix with inputs that only say what they were asked for.
let
  stubs = import ./stubs.nix;
  outputs = (import ../../flake.nix).outputs {
    inherit (stubs) self crane;
    nixpkgs = ./nixpkgs;
    rust-overlay = ./overlay;
  };
  # What has a path is written as that.
  asked = builtins.mapAttrs (_: package: package.asked or package);
in
outputs // { packages = builtins.mapAttrs (_: asked) outputs.packages; }
