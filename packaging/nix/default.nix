# Builds the release that this file is in, which holds all modules: nix-build packaging/nix
{ pkgs ? import <nixpkgs> { }, version ? "0.0.0" }:

pkgs.buildGoModule {
  pname = "lvm2fs";
  inherit version;
  src = ../..;
  vendorHash = null;

  env.CGO_ENABLED = 0;
  subPackages = [ "." ];
  ldflags = [ "-X lvm2fs/cli.release=${version}" ];
  # The tests want FUSE, root and the collection of images.
  doCheck = false;

  nativeBuildInputs = [ pkgs.installShellFiles ];
  postInstall = ''
    installManPage docs/lvm2fs.8
    for shell in bash zsh fish; do
      $out/bin/lvm2fs completion $shell >lvm2fs.$shell
    done
    installShellCompletion lvm2fs.{bash,zsh,fish}
  '';

  meta = {
    description = "Mount LVM2 volume groups without device-mapper";
    license = pkgs.lib.licenses.bsd2;
    platforms = pkgs.lib.platforms.linux ++ pkgs.lib.platforms.darwin ++ pkgs.lib.platforms.freebsd;
    mainProgram = "lvm2fs";
  };
}
