# Makes MD arrays in many states on slices of one disk, and leaves the power to be cut while some are
# busy. /out/arrays has a line for each: its name, and the numbers of its disks.
set -u
modprobe -a loop raid0 raid1 raid10 raid456
i=0
for size in $(cat /in/sizes); do # MiB, of the slices, which begin at every 16 MiB
    losetup --direct-io=on -o $((16 * i))M --sizelimit ${size}M /dev/loop$i /run/d/d000
    i=$((i + 1))
done
mkdir -p /dev/md
next=0

# take N: N fresh disks, $1 to $N of the caller's by set -- $D.
take() {
    D=
    for n in $(seq $1); do
        D="$D /dev/loop$next"
        next=$((next + 1))
    done
}

# create NAME LEVEL DISKS ARGUMENT...: an array over the disks $D, in sync.
create() {
    echo "$1 $D" | sed 's,/dev/loop,,g' >>/out/arrays
    local name=$1 level=$2 disks=$3
    shift 3
    mdadm --create /dev/md/$name --run --homehost=lab --name=$name --level=$level --raid-devices=$disks "$@" >>/out/mdadm 2>&1
    mdadm --wait /dev/md/$name >/dev/null 2>&1
}
fill() { stamp fill -t $1 /dev/md/$1; sync; }
change() { stamp fill -t $1 -g 2 -o 5m -l 4m /dev/md/$1; sync; }
stop() { sync; mdadm --stop /dev/md/$1 >>/out/mdadm 2>&1; }
quietly() { mdadm "$@" >>/out/mdadm 2>&1; }
sys() { echo /sys/block/$(basename $(readlink -f /dev/md/$1))/md; }

# hold NAME: the array does not come into sync beyond 3 MiB of each disk.
hold() { echo 6144 >$(sys $1)/sync_max; }
speed() { # KiB/s, exactly
    echo 1 >/proc/sys/dev/raid/speed_limit_min
    echo $1 >/proc/sys/dev/raid/speed_limit_max
    echo $1 >/proc/sys/dev/raid/speed_limit_min
}
speed 2000000

# In order, of every version and level.
take 3; create r5bitmap 5 3 -c 64 -b internal $D; fill r5bitmap; stop r5bitmap
take 4; create r6 6 4 -c 32 --layout=left-symmetric-6 $D; fill r6; stop r6
take 4; create r4 4 4 -c 32 -e 1.0 $D; fill r4; stop r4
take 4; create r10far 10 4 -c 64 --layout=f2 $D; fill r10far; stop r10far
take 5; create r10offset 10 5 -c 64 --layout=o2 $D; fill r10offset; stop r10offset
take 4; create r10old 10 4 -e 0.90 -c 64 $D; fill r10old; stop r10old
take 4; create r0alternate 0 4 -c 32 --layout=alternate $D; fill r0alternate; stop r0alternate
take 4; create r0original 0 4 -c 32 --layout=original $D; fill r0original; stop r0original
take 3; create ppl 5 3 -c 64 --consistency-policy=ppl $D; fill ppl; stop ppl

# Members that failed and missed what was written then.
take 3; create r5stale 5 3 -c 64 $D; fill r5stale; set -- $D; quietly /dev/md/r5stale --fail $2; change r5stale; stop r5stale
take 3; create r1stale 1 3 -b internal $D; fill r1stale; set -- $D; quietly /dev/md/r1stale --fail $1; change r1stale; stop r1stale
take 5; create r6stale 6 5 -c 64 $D; fill r6stale; set -- $D; quietly /dev/md/r6stale --fail $1 --fail $4; change r6stale; stop r6stale
take 3; create r5oldstale 5 3 -c 64 -e 0.90 $D; fill r5oldstale; set -- $D; quietly /dev/md/r5oldstale --fail $2; change r5oldstale; stop r5oldstale
take 3; create r5bad 5 3 -c 64 $D; fill r5bad; set -- $D
echo "6144 64" >$(sys r5bad)/dev-$(basename $2)/bad_blocks; change r5bad; stop r5bad

# Arrays on arrays, and a new array where an old one was.
take 4; set -- $D
D="$1 $2"; create inner1 1 2 -e 1.0 $D; D="$3 $4"; create inner2 1 2 -e 0.90 $D
echo "outer $1 $2 $3 $4" | sed 's,/dev/loop,,g' >>/out/arrays
quietly --create /dev/md/outer --run --homehost=lab --name=outer --level=0 --raid-devices=2 -c 64 /dev/md/inner1 /dev/md/inner2
fill outer; stop outer; stop inner1; stop inner2
take 2; quietly --create /dev/md/before --run --level=1 --raid-devices=2 -e 1.2 --assume-clean $D; stop before
create after 1 2 -e 1.0 $D; fill after; stop after

# Written to when the power goes.
for kind in whole bitmap degraded bitmapdegraded; do
    take 3; set -- $D
    case $kind in *bitmap*) b="-b internal --bitmap-chunk=64K" ;; *) b= ;; esac
    create busy$kind 5 3 -c 64 $b $D; fill busy$kind
    case $kind in *degraded) quietly /dev/md/busy$kind --fail $2; change busy$kind ;; esac
done
take 2; create busymirror 1 2 $D; fill busymirror
take 3; create busyppl 5 3 -c 64 --consistency-policy=ppl $D; fill busyppl
take 4; set -- $D; create journal 5 3 -c 64 --write-journal $4 $1 $2 $3; fill journal; stop journal
take 4; set -- $D; create busyjournal 5 3 -c 64 --write-journal $4 $1 $2 $3; fill busyjournal

# Under way when the power goes: a first synchronisation, rebuilding, replacing, reshaping.
speed 100
slow() { # NAME LEVEL DISKS ARGUMENT...: as create, but fresh disks are zeros, and in sync.
    create "$@" --assume-clean
    fill $1
}
D=; take 3
echo "r5sync $D" | sed 's,/dev/loop,,g' >>/out/arrays
quietly --create /dev/md/r5sync --run --homehost=lab --name=r5sync --level=5 --raid-devices=3 -c 64 $D; hold r5sync; fill r5sync
take 2
echo "r1sync $D" | sed 's,/dev/loop,,g' >>/out/arrays
quietly --create /dev/md/r1sync --run --homehost=lab --name=r1sync --level=1 --raid-devices=2 $D; hold r1sync; fill r1sync
# grows NAME DISK: the disk is the array's as well.
grows() { sed -i "s,^$1 .*,& ${2#/dev/loop}," /out/arrays; }
take 3; set -- $D; D="$1 $2"; slow r1rebuild 1 2 $D; grows r1rebuild $3; hold r1rebuild; quietly /dev/md/r1rebuild --fail $1; quietly /dev/md/r1rebuild --add $3
take 3; set -- $D; D="$1 $2"; slow r1oldrebuild 1 2 -e 0.90 $D; grows r1oldrebuild $3; hold r1oldrebuild; quietly /dev/md/r1oldrebuild --fail $1; quietly /dev/md/r1oldrebuild --add $3
take 4; set -- $D; D="$1 $2 $3"; slow r5rebuild 5 3 -c 64 $D; grows r5rebuild $4; hold r5rebuild; quietly /dev/md/r5rebuild --fail $2; quietly /dev/md/r5rebuild --add $4
take 4; set -- $D; D="$1 $2 $3"; slow r5replace 5 3 -c 64 $D; grows r5replace $4; quietly /dev/md/r5replace --add $4; hold r5replace; quietly /dev/md/r5replace --replace $1
take 4; set -- $D; D="$1 $2 $3"; slow r5grow 5 3 -c 64 $D; grows r5grow $4; quietly /dev/md/r5grow --add $4; quietly --grow /dev/md/r5grow --raid-devices=4
take 3; slow r5layout 5 3 -c 64 --layout=ls $D; quietly --grow /dev/md/r5layout --layout=la
take 3; slow r5chunk 5 3 -c 64 $D; quietly --grow /dev/md/r5chunk --chunk=32
take 5; set -- $D; D="$1 $2 $3 $4"; slow r10grow 10 4 -c 64 $D; grows r10grow $5; quietly /dev/md/r10grow --add $5; quietly --grow /dev/md/r10grow --raid-devices=5
take 4; set -- $D; D="$1 $2 $3"; slow r5to6 5 3 -c 64 $D; grows r5to6 $4; quietly /dev/md/r5to6 --add $4; quietly --grow /dev/md/r5to6 --level=6 --raid-devices=4 --backup-file=/tmp/backup

for name in r5sync r1sync r1rebuild r1oldrebuild r5rebuild r5replace r5grow r5layout r5chunk r10grow; do
    for n in $(seq 60); do
        read -r at _ <$(sys $name)/sync_completed
        [ "$at" != none ] && [ "$at" -lt 6000 ] || break
        sleep 1
    done
    echo "$name at $at" >>/out/log.sync
done
cat /proc/mdstat >/out/mdstat
sync
for name in whole bitmap degraded bitmapdegraded mirror ppl journal; do
    (while :; do stamp fill -t busy$name -g 2 -direct -o 3m -l 3m /dev/md/busy$name; done) &
done
sleep 5
