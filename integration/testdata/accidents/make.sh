# Accidents with LVM, made in a guest by the real lvm2 and kernel. Before each, the volume that goes is filled with blocks
# that name it. /out/cases gets a line "CASE VG/LV SIZE" for each such volume, /out/CASE.vg a backup of the metadata, /out/log what was
# done. $DISKS says which disks belong to which case: "CASE N" per line, from /run/d/d000 on; the file is /in/disks.
set -e
export LVM_SUPPRESS_FD_WARNINGS=1
exec 3>/out/cases
next=0

# begin CASE: $d0, $d1, ... are the disks of the case, $vg its VG.
begin() {
	case=$1 vg=$1
	n=$(awk -v c="$1" '$1 == c { print $2 }' /in/disks)
	d0= d1= d2= d3= all=
	i=0
	while [ $i -lt "$n" ]; do
		p=$(readlink -f "$(printf /run/d/d%03d $next)")
		eval "d$i=$p"
		all="$all $p"
		i=$((i + 1)) next=$((next + 1))
	done
	echo "== $case: $all"
}
group() { vgcreate -q -s 1m "$vg" "$@"; }
lv() { lvcreate -qq -y -Wn -Zn "$@"; }
fill() { # LV: with blocks that name it
	stamp fill -t "$case/$1" "/dev/$vg/$1"
	echo "$case $vg/$1 $(blockdev --getsize64 "/dev/$vg/$1")" >&3
}
overwrite() { stamp fill -t "$case/$1 later" "/dev/$vg/$1"; }
backup() { vgcfgbackup -q -f "/out/$case.vg" "$vg"; }
off() { vgchange -q -an "$vg"; sync; }
only() { echo "devices/filter=[\"a|^$1\$|\",\"r|.*|\"]"; }

begin linear; group $d0; lv -L8M -n keep $vg; lv -L12M -n gone $vg; fill keep; fill gone; lvremove -qy $vg/gone; off
begin reused; group $d0; lv -L8M -n keep $vg; lv -L12M -n gone $vg; fill gone; lvremove -qy $vg/gone; lv -L4M -n new $vg; overwrite new; off
begin again; group $d0; lv -L8M -n gone $vg; fill gone; lvremove -qy $vg/gone; lv -L4M -n new $vg; overwrite new; lvremove -qy $vg/new; off
begin striped; group $all; lv -i2 -I64k -L16M -n gone $vg; fill gone; lvremove -qy $vg/gone; off
begin raid5; group $all; lv --type raid5 -i2 -I64k -L16M --nosync -n gone $vg; fill gone; lvremove -qy $vg/gone; off
begin raid1; group $all; lv --type raid1 -m1 -L12M --nosync -n gone $vg; fill gone; lvremove -qy $vg/gone; lv -L8M -n new $vg $d0; overwrite new; off
begin cow; group $d0; lv -L8M -n o $vg; stamp fill -t $case/snap /dev/$vg/o; lvcreate -qq -y -s -L8M -n snap $vg/o
echo "$case $vg/snap 8388608" >&3
stamp fill -t "$case/o" -l 3m /dev/$vg/o; sync; lvremove -qy $vg/snap; overwrite o; off
begin merged; group $d0; lv -L8M -n o $vg; stamp fill -t $case/o /dev/$vg/o; lvcreate -qq -y -s -L8M -n snap $vg/o; stamp fill -t $case/snap -l 2m /dev/$vg/snap; off
vgchange -qq -ay $vg; lvconvert -qq --merge -i1 $vg/snap || true; sleep 2; off
begin thin; group $d0; lvcreate -qq -L24M -T $vg/pool --poolmetadatasize 4M -c 64k; for t in keep gone; do lvcreate -qq -V8M -T $vg/pool -n $t; fill $t; done; sync; lvremove -qy $vg/gone; off
begin thinused; group $d0; lvcreate -qq -L24M -T $vg/pool --poolmetadatasize 4M -c 64k; for t in keep gone; do lvcreate -qq -V8M -T $vg/pool -n $t; fill $t; done; sync; lvremove -qy $vg/gone
lvcreate -qq -V12M -T $vg/pool -n new; stamp fill -t "$case/new later" -l 11m /dev/$vg/new; sync; off
begin thinpool; group $d0; lvcreate -qq -L24M -T $vg/pool --poolmetadatasize 4M -c 64k; lvcreate -qq -V8M -T $vg/pool -n gone; fill gone; sync; lvremove -qy $vg/pool; off
begin thinpools; group $d0; lvcreate -qq -L16M -T $vg/pool --poolmetadatasize 4M -c 64k; lvcreate -qq -V8M -T $vg/pool -n gone; fill gone; sync; lvremove -qy $vg/pool
lvcreate -qq -L16M -T $vg/pool --poolmetadatasize 4M -c 64k; lvcreate -qq -V8M -T $vg/pool -n new; overwrite new; sync; off
begin cached; group $all; lv -L12M -n gone $vg $d0; lvcreate -qq -y --type cache-pool -L8M --poolmetadatasize 8M -c 64k --cachemode writethrough -n cp $vg $d1; lvconvert -qq -y --type cache --cachepool $vg/cp $vg/gone
fill gone; sync; lvremove -qy $vg/gone; off
begin uncached; group $all; lv -L12M -n gone $vg $d0; lvcreate -qq -y --type cache-pool -L8M --poolmetadatasize 8M -c 64k --cachemode writethrough -n cp $vg $d1; lvconvert -qq -y --type cache --cachepool $vg/cp $vg/gone
stamp fill -t $case/early /dev/$vg/gone; sync; off; vgchange -qq -ay $vg; lvconvert -qq -y --splitcache $vg/gone; fill gone; lvremove -qy $vg/gone; off
begin writecache; group $all; lv -L12M -n gone $vg $d0; lv -L16M -n fast $vg $d1; vgchange -q -an $vg; lvconvert -qq -y --type writecache --cachevol fast $vg/gone; vgchange -qq -ay $vg; fill gone; off; lvremove -qy $vg/gone; off
begin integrity; group $all; lv --type raid1 -m1 -L8M --raidintegrity y -n gone $vg; sleep 2; fill gone; off; lvremove -qy $vg/gone; off
begin vgremove; group $d0; lv -L12M -n gone $vg; fill gone; off; lvremove -qy $vg/gone; vgremove -qy $vg
begin vgforce; group $all; lv -i2 -I64k -L12M -n gone $vg; fill gone; off; vgremove -qy -ff $vg
begin pvremove; group $d0; lv -L12M -n gone $vg; fill gone; off; vgremove -qy -ff $vg; pvremove -qy $d0
begin pvforce; group $all; lv -L36M -n gone $vg; fill gone; off; backup; pvremove -qy -ff $d1
begin vgreduce; group $all; lv -L8M -n keep $vg $d0; lv -L12M -n gone $vg $d1; fill keep; fill gone; off; vgreduce -qy --config "$(only $d0)" --removemissing --force $vg
begin pvleaves; group $all; lv -L12M -n gone $vg $d1; fill gone; lvremove -qy $vg/gone; vgreduce -q $vg $d1; vgchange -q -an $vg
begin lvreduce; group $d0; lv -L12M -n gone $vg; fill gone; lvreduce -qq -y -f -L4M $vg/gone; lv -L3M -n new $vg; overwrite new; off
begin regrown; group $d0; lv -L12M -n gone $vg; fill gone; lvreduce -qq -y -f -L4M $vg/gone; lv -L4M -n new $vg; lvextend -qq -L12M $vg/gone; overwrite new; off
begin pvcreate; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; pvcreate -qy -ff $d0
begin newvg; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; vgremove -qy -ff $vg; pvremove -qy $d0; vgcreate -q -s 2m newvg2 $d0; vg=newvg2; lv -L6M -n new $vg; overwrite new; off
begin restored; group $d0; lv -L8M -n old $vg; vgcfgbackup -q -f /tmp/old.vg $vg; lv -L12M -n gone $vg; fill gone; off; vgcfgrestore -qq -f /tmp/old.vg $vg; lv -L2M -n new $vg; overwrite new; off
begin zeroed; group $all; lv -L24M -i2 -I64k -n gone $vg; fill gone; off; backup; dd if=/dev/zero of=$d1 bs=1M count=1 conv=notrunc,fsync status=none
begin zeroedall; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; dd if=/dev/zero of=$d0 bs=1M count=1 conv=notrunc,fsync status=none
begin mkfs; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; mkfs.ext4 -q -F $d0
begin gpt; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; echo 'label: gpt' | sfdisk -q --no-reread --no-tell-kernel -w always $d0
begin swap; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; mkswap -f $d0 >/dev/null
begin wipefs; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; wipefs -qaf $d0
begin halves; pvcreate -q --pvmetadatacopies 2 $d0; group $d0; lv -L12M -n gone $vg; fill gone; off; backup; dd if=/dev/zero of=$d0 bs=64k count=4 conv=notrunc,fsync status=none
begin header; group $d0; lv -L12M -n gone $vg; fill gone; off; printf XXXX | dd of=$d0 bs=1 seek=4096 conv=notrunc,fsync status=none
begin text; group $d0; lv -L12M -n gone $vg; fill gone; vgchange -q --addtag x $vg; off; backup
off=$(od -An -t u8 -j $((4096 + 40)) -N 8 $d0 | tr -d ' '); printf '\377' | dd of=$d0 bs=1 seek=$((4096 + off + 300)) conv=notrunc,fsync status=none
begin moved; group $all; lv -L12M -n gone $vg $d0; stamp fill -t "$case/gone early" /dev/$vg/gone; pvmove -q -i1 $d0 $d1; fill gone; lvremove -qy $vg/gone; off
begin takeover; group $all; lv --type raid0 -i2 -I64k -L16M -n gone $vg; stamp fill -t "$case/gone early" /dev/$vg/gone; lvconvert -qq -y --type raid4 $vg/gone || lvconvert -qq -y --type raid5_n $vg/gone; sleep 3; fill gone; lvremove -qy $vg/gone; off
begin upconvert; group $all; lv -L12M -n gone $vg $d0; stamp fill -t "$case/gone early" /dev/$vg/gone; lvconvert -qq -y --type raid1 -m1 $vg/gone; sleep 3; fill gone; lvremove -qy $vg/gone; off
begin renamed; group $d0; lv -L12M -n was $vg; lvrename -q $vg was gone; vgrename -q $vg renamed2; vg=renamed2; fill gone; lvremove -qy $vg/gone; off
begin missing; group $all; lv -L8M -n a $vg $d0; lv -L12M -n b $vg $d1; fill b; off; lvcreate -qq -y -Wn -Zn -an -L4M -n c --config "$(only $d0)" $vg || vgchange -q --config "$(only $d0)" --addtag x $vg || true
lvremove -qy --config "$(only $d0)" $vg/a || true
begin thinnodes; group $d0; lvcreate -qq -L32M -T $vg/pool --poolmetadatasize 2M -c 64k; lvcreate -qq -V20M -T $vg/pool -n keep; stamp fill -t "$case/keep early" -l 6m /dev/$vg/keep; sync; fill keep; sync
lvcreate -qq -kn -s -n snap $vg/keep; stamp fill -t "$case/snap" -l 5m /dev/$vg/snap; sync; lvcreate -qq -kn -s -n tmp $vg/keep; stamp fill -t "$case/tmp" -l 2m /dev/$vg/tmp; sync; lvremove -qy $vg/tmp
blkdiscard -o 8388608 -l 1048576 /dev/$vg/snap; stamp fill -t "$case/keep late" -l 2m /dev/$vg/keep; off
sync
echo finished
