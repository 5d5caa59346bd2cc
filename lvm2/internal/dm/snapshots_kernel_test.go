package dm

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// cutStates is how many of the states that power cuts left are shown to the kernel: count, or what
// LVM2FS_KERNEL_STATES says.
func cutStates(count int) int {
	if n, err := strconv.Atoi(os.Getenv("LVM2FS_KERNEL_STATES")); err == nil {
		return n
	}
	return count
}

// shown has the kernel look at states on a disk, and returns the line that it tells of each. list says what is where,
// one line for each state.
func shown(t *testing.T, script, list, disk string, states int) []string {
	t.Helper()
	vm := testenv.NeedVM(t)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	text := filepath.Join(dir, "script")
	for path, text := range map[string]string{filepath.Join(in, "states"): list, text: script} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if msg, err := exec.Command(vm, "-t", strconv.Itoa(300+5*states), "-i", in, text, out, disk).CombinedOutput(); err != nil {
		log, _ := os.ReadFile(filepath.Join(out, "log"))
		t.Fatalf("the virtual machine: %v\n%s%s", err, msg, log)
	}
	told, err := os.ReadFile(filepath.Join(out, "sums"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(told)), "\n")
	if len(lines) != states {
		t.Fatalf("%d states were looked at, not %d", len(lines), states)
	}
	return lines
}

// kernelScript makes of each state the devices that lvm2 would make, sums them, writes to the origin and the first
// snapshot, and sums them again.
const kernelScript = `
set -e
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
    i, at, origin, *stores = [int(w) for w in line.split()]
    tables = [f'real,,,rw,0 {origin} linear {disk} {at}']
    at += origin
    names = ['origin']
    for k in range(0, len(stores), 3):
        cow, size, chunk = stores[k:k+3]
        tables.append(f'cow{k},,,rw,0 {cow} linear {disk} {at}')
        tables.append(f'snap{k},,,rw,0 {size} snapshot /dev/mapper/real /dev/mapper/cow{k} P {chunk}')
        names.append(f'snap{k}')
        at += cow
    tables.append(f'origin,,,rw,0 {origin} snapshot-origin /dev/mapper/real')
    subprocess.run(['dmsetup', 'create', '--concise', ';'.join(tables)], check=True)
    print(sums(names), end=' ')
    write('origin', i * 4096 % (origin * 512), b'\xaa' * 4096)
    write('snap0', i * 3584 % (stores[1] * 512), b'\xbb' * 512)
    print(sums(names), flush=True)
    subprocess.run(['dmsetup', 'remove'] + [t.split(',')[0] for t in reversed(tables)], check=True)
P
python3 /tmp/states.py $disk >/out/sums
`

// The real kernel takes what a power cut has left for the same as we do. It goes on writing, and we read that.
func TestTheKernelTakesWhatAPowerCutLeavesOfOriginsAndSnapshots(t *testing.T) {
	testenv.NeedVM(t)
	count := cutStates(60)
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	type state struct {
		*family
		at    int64
		disks []memory // as to their sizes
	}
	var states []state
	var list strings.Builder
	at := int64(0)
	put := func(f *family, disks []memory) {
		s := state{f, at, disks}
		fmt.Fprintf(&list, "%d %d %d", len(states), at/sector, len(disks[0])/sector)
		for i, b := range disks {
			n := len(b) / sector * sector
			if _, err := disk.WriteAt(b[:n], at); err != nil {
				t.Fatal(err)
			}
			at += int64(n)
			if i > 0 {
				fmt.Fprintf(&list, " %d %d %d", n/sector, f.sizes[i-1]/sector, f.chunks[i-1]/sector)
			}
		}
		list.WriteString("\n")
		states = append(states, s)
	}
	configs := [][]testStore{
		{{4096, 60, 0}, {16384, 20, 0}},
		{{512, 400, 0}, {1024, 200, 20 << 10}},
		{{8192, 30, 0}, {4096, 60, 0}, {32768, 10, 0}},
	}
	for len(states) < count {
		f, disks := newFamily(48<<10, configs[len(states)/20%len(configs)]...)
		u := newUnplugged(disks...)
		h := f.write(t, u, 10)
		for k := range min(20, count-len(states)) {
			n := len(u.steps) * (k + 1) / 20
			after := u.cut(n)
			put(f.reopen(t, after, h, n), after)
		}
	}
	lines := shown(t, kernelScript, list.String(), disk.Name(), len(states))
	for i, s := range states {
		want := s.sums()
		fill(s.origin[i*4096%len(s.origin):][:4096], 0xaa)
		fill(s.views[0][i*3584%len(s.views[0]):][:512], 0xbb)
		if want += " " + s.sums(); lines[i] != want {
			t.Errorf("state %d: the kernel reads\n%s, want\n%s", i, lines[i], want)
		}

		_, origin, views := s.open(t, func(k int) mapping.Volume {
			at := s.at
			for _, d := range s.disks[:k] {
				at += int64(len(d) / sector * sector)
			}
			b := make(memory, len(s.disks[k])/sector*sector)
			if _, err := disk.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			return volumeOf(b)
		})
		s.check(t, fmt.Sprintf("state %d as the kernel left it", i), origin, views)
	}
}

func fill(p []byte, with byte) {
	for i := range p {
		p[i] = with
	}
}

// sums are those of the origin and all snapshots.
func (f *family) sums() string {
	var all []string
	for _, v := range f.volumes() {
		all = append(all, fmt.Sprintf("%x", sha256.Sum256(v)))
	}
	return strings.Join(all, " ")
}
