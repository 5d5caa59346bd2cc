package dm

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// thinScript has the kernel make a pool of each state, with all its devices, and sum, write and sum them again.
const thinScript = `
set -e
modprobe dm-thin-pool 2>/dev/null || true
disk=$(readlink -f /run/d/d000)
cat >/tmp/states.py <<'P'
import hashlib, os, subprocess, sys
disk = sys.argv[1]
def read(name):
    with open('/dev/mapper/' + name, 'rb') as f: return f.read()
def sums(names): return ' '.join(hashlib.sha256(read(n)).hexdigest() for n in names)
def write(name, off, p):
    with open('/dev/mapper/' + name, 'r+b', 0) as f:
        f.seek(off); f.write(p); os.fsync(f.fileno())
for line in open('/in/states'):
    i, at, meta, data, external, chunk, size, *ids = [int(w) for w in line.split()]
    tables = [f'meta,,,rw,0 {meta} linear {disk} {at}', f'data,,,rw,0 {data} linear {disk} {at+meta}']
    over = ''
    if external:
        tables.append(f'external,,,ro,0 {external} linear {disk} {at+meta+data}')
        over = ' /dev/mapper/external'
    tables.append(f'pool,,,rw,0 {data} thin-pool /dev/mapper/meta /dev/mapper/data {chunk} 0 1 error_if_no_space')
    for id in ids:
        tables.append(f'thin{id},,,rw,0 {size} thin /dev/mapper/pool {id}' + (over if id == 1 else ''))
    subprocess.run(['dmsetup', 'create', '--concise', ';'.join(tables)], check=True)
    names = [f'thin{id}' for id in ids]
    print(sums(names), end=' ')
    for k, name in enumerate(names):
        write(name, (i + k) * 4096 % (size * 512 - 4096) // 512 * 512, bytes([0xa0 + k]) * 4096)
    status = subprocess.run(['dmsetup', 'status', 'pool'], capture_output=True, text=True, check=True).stdout
    print(sums(names), 'rw' if ' rw ' in status and 'needs_check' not in status else status.replace(' ', '_').strip(), flush=True)
    subprocess.run(['dmsetup', 'remove'] + [t.split(',')[0] for t in reversed(tables)], check=True)
P
python3 /tmp/states.py $disk >/out/sums
`

// The real kernel takes a pool that a power cut has left for the same as we do. It goes on writing all devices; after
// that we, and thin_check, find the pool whole.
func TestTheKernelTakesWhatAPowerCutLeavesOfThinPools(t *testing.T) {
	testenv.NeedVM(t)
	const (
		chunk = 64 << 10 // the smallest that the kernel takes
		size  = 1250 * sector
		each  = 5 // states of one history
	)
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	type state struct {
		*thinFamily
		at    int64
		disks []memory
	}
	var states []state
	var list strings.Builder
	end := int64(0)
	put := func(f *thinFamily, disks []memory) {
		ids := slices.Sorted(maps.Keys(f.sizes))
		fmt.Fprintf(&list, "%d %d %d %d %d %d %d %s\n", len(states), end/sector, len(disks[metaDisk])/sector, len(disks[dataDisk])/sector,
			len(f.external)/sector, chunk/sector, size/sector, strings.Trim(fmt.Sprint(ids), "[]"))
		s := state{f, end, nil}
		for _, b := range append(slices.Clone(disks), f.external) {
			if _, err := disk.WriteAt(b, end); err != nil {
				t.Fatal(err)
			}
			end += int64(len(b))
		}
		for _, b := range disks {
			s.disks = append(s.disks, b[:len(b):len(b)])
		}
		states = append(states, s)
	}
	for count := cutStates(20); len(states) < count; {
		turn := len(states) / each
		f, disks := thinFamilyOf(t, []string{"nopassdown", "passdown"}[turn%2], 50, chunk, size, turn%4 > 1)
		u := newUnplugged(disks...)
		h := f.write(t, u, 10)
		for k := range min(each, count-len(states)) {
			n := len(u.steps) * (k + 1) / each
			after := u.cut(n)
			put(f.reopen(t, after, h, n), after)
		}
	}
	lines := shown(t, thinScript, list.String(), disk.Name(), len(states))
	for i, s := range states {
		want := s.sums()
		for k, id := range slices.Sorted(maps.Keys(s.sizes)) {
			fill(s.contents[id][(i+k)*4096%(size-4096)/sector*sector:][:4096], byte(0xa0+k))
		}
		if want += " " + s.sums() + " rw"; lines[i] != want {
			t.Errorf("state %d: the kernel reads\n%s, want\n%s", i, lines[i], want)
		}
		at := s.at
		for _, b := range s.disks {
			if _, err := disk.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			at += int64(len(b))
		}
		what := fmt.Sprintf("state %d as the kernel left it", i)
		_, open := s.open(t, ramVolumes(s.disks))
		s.check(t, what, open)
		checkPool(t, what, s.thinFamily, s.disks)
		thinCheckTool(t, what, s.disks)
	}
}

// sums are those of all devices.
func (f *thinFamily) sums() string {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(f.sizes)) {
		all = append(all, fmt.Sprintf("%x", sha256.Sum256(f.contents[id])))
	}
	return strings.Join(all, " ")
}
