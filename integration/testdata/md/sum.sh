# Has the kernel assemble what make.sh left, and read it: /out/sums has size and SHA-256 of each array,
# and those named in /in/copied are copied as they are. Of an array in a reshape, that is not to go on with
# it, the kernel may wait for ever for the stripe where it stopped: "hangs".
set -u
modprobe -a loop raid0 raid1 raid10 raid456
echo 1 >/sys/module/md_mod/parameters/start_dirty_degraded
i=0
for size in $(cat /in/sizes); do
    losetup -o $((16 * i))M --sizelimit ${size}M /dev/loop$i /run/d/d000
    i=$((i + 1))
done
mkdir -p /dev/md
# Read-only, or else it would go on with what it was at. Of two superblocks mdadm takes the one that is newer,
# not the outer, unless it is told, and then it may crash, having assembled the array.
while read -r name disks; do
    mode=--readonly
    case $name in
    inner1) mode="$mode --metadata=1.0" ;;
    inner2) mode="$mode --metadata=0.90" ;;
    esac
    devices=
    for d in $disks; do devices="$devices /dev/loop$d"; done
    [ $name = outer ] && devices="/dev/md/inner1 /dev/md/inner2"
    mdadm --assemble $mode --run /dev/md/$name $devices >>/out/mdadm 2>&1
    size=$(blockdev --getsize64 /dev/md/$name 2>/dev/null)
    if [ "${size:-0}" -gt 0 ]; then
        sha256sum </dev/md/$name >/tmp/sum &
        for n in $(seq 120); do
            kill -0 $! 2>/dev/null || break
            sleep 0.5
        done
        if kill -0 $! 2>/dev/null; then
            echo "$name hangs" >>/out/sums
            continue
        fi
        echo "$name $size $(cut -d' ' -f1 /tmp/sum)" >>/out/sums
        if grep -qx $name /in/copied; then cp /dev/md/$name /out/$name.img; fi
    else
        echo "$name refused" >>/out/sums
    fi
done </in/arrays
