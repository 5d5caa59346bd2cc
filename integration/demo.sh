#!/bin/sh
# make demo: what lvm2fs does, on the sample image, showing each command. Needs only Go and
# make; with FUSE it mounts, without it dumps; as root it mounts the ext2 inside.
set -eu
cd "$(dirname "$0")/.."

top=$(pwd)
image=$top/testdata/images/banana
dir=$(mktemp -d "${TMPDIR:-/tmp}/lvm2fs-demo.XXXXXX")
out=$dir/.out mounted= loop= inner=

cleanup() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "$inner" ]; then umount ext2 || status=1; fi
    if [ -n "$loop" ]; then losetup -d "$loop" || status=1; fi
    if [ -n "$mounted" ]; then lvm2fs umount mnt || status=1; fi
    cd "$top"
    rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

say() { printf '\n%s\n' "$*"; }
run() {
    printf '    $ %s\n' "$*"
    if "$@" >"$out" 2>&1; then ok=0; else ok=$?; fi
    sed 's/^/    /' "$out"
    return "$ok"
}
fail() {
    say "demo: $*"
    exit 1
}
lvm2fs() { "$top/lvm2fs" "$@"; }
have() { command -v "$1" >/dev/null 2>&1; }
root() { [ "$(id -u)" = 0 ]; }

can_mount() {
    case $(uname) in
    Linux) [ -r /dev/fuse ] && [ -w /dev/fuse ] && { root || have fusermount3; } ;;
    FreeBSD) [ -c /dev/fuse ] && have mount_fusefs && { root || [ "$(sysctl -n vfs.usermount)" = 1 ]; } ;;
    Darwin) [ -d /Library/Filesystems/macfuse.fs ] ;;
    *) false ;;
    esac
}

say "A disk of a volume group named banana, from testdata:"
go run ./internal/test/testimages/unpack "$image/disks.tar.zst" "$dir"
run cd "$dir"
run ls -l ad0s7.img

say "What is on it?"
run lvm2fs list ad0s7.img

if can_mount; then
    say "Mount it: the volume group is a directory, each logical volume a file."
    run mkdir mnt
    run lvm2fs -r ad0s7.img mnt
    mounted=1
    run ls -l mnt/banana
    volumes=mnt/banana
    say "Copy one volume:"
    run cp mnt/banana/cream cream
else
    say "FUSE cannot be used here, so the volumes are written out instead of mounted:"
    run lvm2fs dump ad0s7.img
    run ls -l banana
    volumes=banana
    run cp banana/cream cream
fi

say "Is it what the kernel read from it?"
if have sha256sum; then run sha256sum cream; else run shasum -a 256 cream; fi
sum=$(sed -n 's/^\([0-9a-f]\{64\}\) .*/\1/p' "$out")
grep -q "\"$sum\"" "$image/expect.json" || fail "the sum of cream is not in $image/expect.json"
printf '    Yes: %s has the same.\n' testdata/images/banana/expect.json

say "chocolate holds an ext2 file system, and that the file CHOCOLATE:"
if root && have losetup && [ "$(uname)" = Linux ] && [ -e /dev/loop-control ]; then
    run losetup --find --show --read-only $volumes/chocolate
    loop=$(cat "$out")
    run mkdir ext2
    run mount -t ext2 -o ro "$loop" ext2
    inner=1
    run cat ext2/CHOCOLATE
    cp ext2/CHOCOLATE text
    run umount ext2
    inner=
    run losetup -d "$loop"
    loop=
elif have debugfs; then
    printf '    (Not root, so copied and read with debugfs instead of mounted.)\n'
    run cp $volumes/chocolate chocolate
    run debugfs -R 'dump CHOCOLATE text' chocolate
    run cat text
else
    printf '    (Neither root with losetup nor debugfs here: looked for among the bytes of a copy.)\n'
    run cp $volumes/chocolate chocolate
    export LC_ALL=C
    run grep -a -o 'Dark, milk or white: .* degrees' chocolate
    cp "$out" text
fi
grep -q 'melts at 34 degrees' text || fail "CHOCOLATE cannot be read"

if [ -n "$mounted" ]; then
    say "Unmount:"
    run lvm2fs umount mnt
    mounted=
    [ ! -e mnt/banana ] || fail "mnt is still mounted"
fi
say "The demo is done."
