#!/bin/sh
# Makes the release VERSION from what is committed: build/lvm2fs-VERSION.tar.gz, which holds all modules and so builds
# without a network; the port of FreeBSD and the formula of Homebrew that build it.
set -eu
cd "$(dirname "$0")/.."
version=$1
name=lvm2fs-$version
top=$PWD

rm -rf build/dist "build/$name.tar.gz" build/freebsd build/lvm2fs.rb
mkdir -p build/dist
git archive --prefix="$name/" HEAD | tar -xf - -C build/dist
sed -i.orig "s/version ? \"0.0.0\"/version ? \"$version\"/" "build/dist/$name/packaging/nix/default.nix"
rm "build/dist/$name/packaging/nix/default.nix.orig"
(cd "build/dist/$name" && ${GO:-go} mod vendor)
tar -czf "build/$name.tar.gz" -C build/dist "$name"
rm -rf build/dist

sha256() { # each system has another program for it
	{ sha256sum "$1" || shasum -a 256 "$1" || sha256 -r "$1"; } 2>/dev/null | cut -d' ' -f1
}
sum=$(sha256 "build/$name.tar.gz")
size=$(wc -c <"build/$name.tar.gz" | tr -d ' ')

mkdir -p build/freebsd
cp -R packaging/freebsd build/freebsd/lvm2fs
sed "s/^DISTVERSION=.*/DISTVERSION=	$version/" packaging/freebsd/Makefile >build/freebsd/lvm2fs/Makefile
cat >build/freebsd/lvm2fs/distinfo <<EOF
TIMESTAMP = $(date +%s)
SHA256 ($name.tar.gz) = $sum
SIZE ($name.tar.gz) = $size
EOF

sed -e "s|@URL@|${URL:-file://$top/build/$name.tar.gz}|" -e "s|@VERSION@|$version|" -e "s|@SHA256@|$sum|" \
	packaging/homebrew/lvm2fs.rb.in >build/lvm2fs.rb
