#!/bin/sh
# make demo: what lvm2fs does, on the sample image, showing each command. Needs only Go and
# make; with FUSE it mounts, without it dumps; as root it mounts the ext2 inside.
set -eu
cd "$(dirname "$0")/.."

image=testdata/images/banana
dir=$(mktemp -d "${TMPDIR:-/tmp}/lvm2fs-demo.XXXXXX")
mnt=$dir/mnt
mounted= loop= inner=

cleanup() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "$inner" ]; then umount "$dir/ext2" || status=1; fi
    if [ -n "$loop" ]; then losetup -d "$loop" || status=1; fi
    if [ -n "$mounted" ]; then ./lvm2fs umount "$mnt" || status=1; fi
    rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

say() { printf '\n%s\n' "$*"; }
run() {
    printf '    $ %s\n' "$*"
    if "$@" >"$dir/out" 2>&1; then ok=0; else ok=$?; fi
    sed 's/^/    /' "$dir/out"
    return "$ok"
}
fail() {
    say "demo: $*"
    exit 1
}
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
go run ./internal/testimages/unpack $image/disks.tar.zst "$dir"
disk=$dir/ad0s7.img
run ls -l "$disk"

say "What is on it?"
run ./lvm2fs list "$disk"

if can_mount; then
    say "Mount it: the volume group is a directory, each logical volume a file."
    mkdir "$mnt"
    run ./lvm2fs -r "$disk" "$mnt"
    mounted=1
    run ls -l "$mnt/banana"
    volumes=$mnt/banana
    say "Copy one volume:"
    run cp "$mnt/banana/cream" "$dir/cream"
else
    say "FUSE cannot be used here, so the volumes are written out instead of mounted:"
    run ./lvm2fs dump -C "$dir/dump" "$disk"
    run ls -l "$dir/dump/banana"
    volumes=$dir/dump/banana
    cp "$volumes/cream" "$dir/cream"
fi

say "Is it what the kernel read from it?"
if have sha256sum; then run sha256sum "$dir/cream"; else run shasum -a 256 "$dir/cream"; fi >"$dir/sum"
cat "$dir/sum"
sum=$(sed -n 's/^ *\([0-9a-f]\{64\}\).*/\1/p' "$dir/sum")
grep -q "\"$sum\"" $image/expect.json || fail "the sum of cream is not in $image/expect.json"
say "Yes: $image/expect.json says the same."

say "chocolate holds an ext2 file system, and that the file CHOCOLATE:"
if root && have losetup && [ "$(uname)" = Linux ] && [ -e /dev/loop-control ]; then
    printf '    $ losetup --find --show --read-only %s\n' "$volumes/chocolate"
    loop=$(losetup --find --show --read-only "$volumes/chocolate")
    printf '    %s\n' "$loop"
    mkdir "$dir/ext2"
    run mount -t ext2 -o ro "$loop" "$dir/ext2"
    inner=1
    run cat "$dir/ext2/CHOCOLATE"
    cp "$dir/ext2/CHOCOLATE" "$dir/CHOCOLATE"
    umount "$dir/ext2"
    inner=
    run losetup -d "$loop"
    loop=
elif have debugfs; then
    say "(Not root, so copied and read with debugfs instead of mounted.)"
    run cp "$volumes/chocolate" "$dir/chocolate"
    run debugfs -R "dump CHOCOLATE $dir/CHOCOLATE" "$dir/chocolate"
    run cat "$dir/CHOCOLATE"
else
    say "(Neither root with losetup nor debugfs here: looked for among the bytes of a copy.)"
    run cp "$volumes/chocolate" "$dir/chocolate"
    LC_ALL=C grep -a '^Dark, milk or white' "$dir/chocolate" | tr -d '\000' >"$dir/CHOCOLATE"
    run cat "$dir/CHOCOLATE"
fi
grep -q 'melts at 34 degrees' "$dir/CHOCOLATE" || fail "CHOCOLATE cannot be read"

if [ -n "$mounted" ]; then
    say "Unmount:"
    run ./lvm2fs umount "$mnt"
    mounted=
    [ ! -e "$mnt/banana" ] || fail "$mnt is still mounted"
fi
say "The demo is done."
