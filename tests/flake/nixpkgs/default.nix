(import ../stubs.nix).pkgs
