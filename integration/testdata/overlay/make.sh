# Makes a VG with an LV of each of four kinds, and on each an ext4, a btrfs and an XFS that are in use when the power goes, so that
# their journals have to be replayed. /out/sums has a line for each file that was synced before: sum, LV/file system/name.
#
# The first disk has 8 GiB, five more have 1 GiB. The archive beside this was made of them by
#     tar -cSf - disk?.img | zstd -19 --long=27
set -e
modprobe -a loop ext4 xfs btrfs
umask 077
disks=$(for d in /run/d/d00[0-5]; do readlink -f $d; done)
set -- $disks
vgcreate -s 1m vg $disks
lvcreate -y -W y -Z y -L 560m -T vg/pool --chunksize 64k $1
lvcreate -y -V 500m -n thin --thinpool pool vg
lvcreate -y --type vdo -L 5g -V 500m -n vdo vg/vdopool $1
lvcreate -y --type raid6 -i 3 -L 501m -n raid6 vg $2 $3 $4 $5 $6
lvcreate -y -L 500m -n origin vg $1
lvcreate -y -s -L 200m -c 16k -n snap vg/origin $1
while [ "$(lvs --noheadings -o sync_percent vg/raid6 | tr -d ' ')" != 100.00 ]; do sleep 1; done

at() { # FILE-SYSTEM: its offset and size in MiB
    case $1 in ext4) echo 0 64 ;; btrfs) echo 64 128 ;; xfs) echo 192 304 ;; esac
}
n=8
for lv in thin vdo raid6 snap; do
    for fs in ext4 btrfs xfs; do # before one of them is mounted: mkfs.btrfs takes what lies on one LV for one device
        set -- $(at $fs)
        loop=/dev/loop$n
        [ -e $loop ] || mknod $loop b 7 $n
        n=$((n + 1))
        losetup -o ${1}M --sizelimit ${2}M $loop /dev/vg/$lv
        case $fs in
        ext4) mkfs.ext4 -q -E lazy_itable_init=0 $loop ;;
        btrfs) mkfs.btrfs -q -m single -d single $loop ;;
        xfs) mkfs.xfs -q $loop ;;
        esac
        mkdir -p /mnt/$lv/$fs
        echo $loop >/mnt/$lv/$fs.device
    done
    for fs in ext4 btrfs xfs; do
        mount -t $fs $(cat /mnt/$lv/$fs.device) /mnt/$lv/$fs
        for i in 1 2 3 4 5 6 7 8; do
            mkdir -p /mnt/$lv/$fs/d$i
            yes "$lv $fs $i" | head -c ${i}0123 >/mnt/$lv/$fs/d$i/file
        done
    done
done
sync
for lv in thin vdo raid6 snap; do
    for fs in ext4 btrfs xfs; do
        cd /mnt/$lv/$fs
        rm -r d2
        mv d3/file moved
        yes "$lv $fs later" | head -c 54321 >later
        dd if=/dev/zero of=/mnt/$lv/$fs/synced bs=4k count=3 conv=fsync status=none
        [ $fs = btrfs ] || sync -f .
    done
done
cd /mnt
for f in $(ls -d */*/synced); do sha256sum $f; done >/out/sums
# What a btrfs has only in its log tree is what was synced file by file.
for f in $(ls -d */ext4/moved */ext4/later */xfs/moved */xfs/later */*/d1/file */*/d8/file); do sha256sum $f; done >>/out/sums
lvs -a -o +devices vg >/out/lvs
