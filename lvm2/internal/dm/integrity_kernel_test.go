package dm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// integrityScript makes of each state the layer that lvm2 would make, sums it, writes to it, sums it again and tells how
// many blocks did not match.
const integrityScript = `
set -e
disk=$(readlink -f /run/d/d000)
modprobe dm-integrity || true
cat >/tmp/states.py <<'P'
import hashlib, os, subprocess, sys
disk = sys.argv[1]
def total(name):
    with open('/dev/mapper/' + name, 'rb') as f: return hashlib.sha256(f.read()).hexdigest()
def run(*args): return subprocess.run(['dmsetup', *args], check=True, capture_output=True, text=True).stdout
for line in open('/in/states'):
    at, data, meta, off, mode, opts = line.split(None, 5)
    at, data, meta, off = int(at), int(data), int(meta), int(off)
    try:
        run('create', 'data', '--table', f'0 {data} linear {disk} {at}')
        run('create', 'meta', '--table', f'0 {meta} linear {disk} {at + data}')
        run('create', 'layer', '--table', f'0 {data} integrity /dev/mapper/data 0 4 {mode} ' + opts.strip().replace('META', '/dev/mapper/meta'))
        print(total('layer'), end=' ')
        with open('/dev/mapper/layer', 'r+b', 0) as f:
            f.seek(off); f.write(b'\xaa' * 4096); os.fsync(f.fileno())
        print(total('layer'), run('status', 'layer').split()[3], flush=True)
    except (OSError, subprocess.CalledProcessError) as e:
        print('failed:', repr(e), repr(getattr(e, 'stderr', '')), flush=True)
    for name in ['layer', 'meta', 'data']: subprocess.run(['dmsetup', 'remove', name])
P
python3 /tmp/states.py $disk >/out/sums
dmesg >/out/dmesg
`

// The real kernel takes what a power cut has left of an integrity layer for the same as we do, and finds no block that
// does not match. It goes on writing, and we read that.
func TestTheKernelTakesWhatAPowerCutLeavesOfIntegrityLayers(t *testing.T) {
	vm := testenv.NeedVM(t)
	const states = 15 // of each kind
	dir := t.TempDir()
	disk, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	type state struct {
		*integrityDisk
		kind     integrityKind
		at       int64
		contents memory
		off      int
	}
	var all []state
	var list strings.Builder
	at := int64(0)
	for _, k := range integrityKinds {
		d := k.disk(48 << 10 / k.blockSize)
		d.meta = append(d.meta, make(memory, 128<<10-len(d.meta)%4096)...) // the kernel reads tags 64 KiB at a time
		u := newUnplugged(d.data, d.meta)
		v := d.checkedOn(t, u.volume(integrityData), u.volume(integrityMeta))
		contents := bytes.Clone(d.data)
		for i := range 30 {
			change(t, v, contents)
			if i%6 == 5 {
				if err := v.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := v.StopWriting(); err != nil {
			t.Fatal(err)
		}
		for i := range states {
			after := u.cut(len(u.steps) * (i + 1) / states)
			v, err := Integrity(volumeOf(after[integrityData]), volumeOf(after[integrityMeta]), d.config)
			if err != nil {
				t.Fatal(err)
			}
			got := make(memory, len(contents))
			if _, err := v.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			s := state{d, k, at, got, rand.IntN(len(got)/4096) * 4096}
			opts := fmt.Sprintf("meta_device:META internal_hash:%s block_size:%d", k.hash, k.blockSize)
			if n := 2; k.mode == IntegrityBitmap {
				opts = fmt.Sprintf("%d %s sectors_per_bit:%d", n+2, opts, 4*k.blockSize/512)
			} else {
				opts = fmt.Sprintf("%d %s", n+1, opts)
			}
			fmt.Fprintf(&list, "%d %d %d %d %s %s\n", at/sector, len(got)/sector, len(d.meta)/sector, s.off, k.mode, opts)
			for _, b := range after {
				if _, err := disk.WriteAt(b, at); err != nil {
					t.Fatal(err)
				}
				at += int64(len(b))
			}
			all = append(all, s)
		}
	}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	script := filepath.Join(dir, "script")
	for path, text := range map[string]string{filepath.Join(in, "states"): list.String(), script: integrityScript} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if msg, err := exec.Command(vm, "-t", "600", "-i", in, script, out, disk.Name()).CombinedOutput(); err != nil {
		log, _ := os.ReadFile(filepath.Join(out, "log"))
		t.Fatalf("the virtual machine: %v\n%s%s", err, msg, log)
	}
	told, err := os.ReadFile(filepath.Join(out, "sums"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(told)), "\n")
	if strings.Contains(string(told), "failed:") {
		messages, _ := os.ReadFile(filepath.Join(out, "dmesg"))
		t.Logf("%s", messages[max(0, len(messages)-3000):])
	}
	if len(lines) != len(all) {
		t.Fatalf("%d states were looked at, not %d", len(lines), len(all))
	}
	for i, s := range all {
		want := fmt.Sprintf("%x", sha256.Sum256(s.contents))
		fill(s.contents[s.off:][:4096], 0xaa)
		if want += fmt.Sprintf(" %x 0", sha256.Sum256(s.contents)); lines[i] != want {
			t.Errorf("%s, state %d: the kernel says\n%s, want\n%s", s.kind, i, lines[i], want)
			continue
		}
		data, meta := make(memory, len(s.data)), make(memory, len(s.meta))
		for _, b := range []memory{data, meta} {
			if _, err := disk.ReadAt(b, s.at); err != nil {
				t.Fatal(err)
			}
			s.at += int64(len(b))
		}
		checkBytes(t, s.checkedOn(t, volumeOf(data), volumeOf(meta)), s.contents)
	}
}
