package fusefs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

// wantContents asks for the LV's bytes on the disks.
func (m *mounted) wantContents(want []byte) {
	m.t.Helper()
	got := contents(m.disks)
	if i := firstDifference(got, want); i >= 0 {
		m.t.Errorf("the LV has other bytes from %d on", i)
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

func (m *mounted) wantSize(what string, want int64) {
	m.t.Helper()
	if got := m.stat("vg/data").Size(); got != want {
		m.t.Errorf("%s: the size is %d, want %d", what, got, want)
	}
}

const lvSize = 4 * extent // of oneLV's data

func TestTruncatingMovesTheEndAndNoBytes(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		want := bytes.Clone(contents(m.disks))
		if err := os.Truncate(m.path("vg/data"), 0); err != nil {
			t.Errorf("with nobody writing: %v", err)
		}
		m.wantSize("with nobody writing", lvSize)
		f := m.open("vg/data", os.O_RDWR|os.O_TRUNC)
		m.wantSize("opened", 0)
		for _, size := range []int64{0, extent + 7, 100, lvSize, extent, 0} {
			if err := f.Truncate(size); err != nil {
				t.Errorf("to %d: %v", size, err)
			}
			m.wantSize("truncated", size)
			got, err := io.ReadAll(io.NewSectionReader(f, 0, lvSize))
			if err != nil || int64(len(got)) != size {
				t.Errorf("truncated to %d, reads %d bytes, %v", size, len(got), err)
			}
		}
		clear(want)
		m.wantContents(want) // it was extended to its size once
		wantErrno(t, "growing", f.Truncate(lvSize+1), syscall.EPERM)
		m.wantSize("after that", 0)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		m.wantSize("closed", lvSize)
		m.wantContents(want)
	})
}

func TestWhatIsSkippedBehindTheEndReadsAsZeros(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		want := bytes.Clone(contents(m.disks))
		f := m.open("vg/data", os.O_WRONLY|os.O_TRUNC)
		for _, off := range []int64{10, 5, extent - 3, 3*extent + 1, 2 * extent} {
			if _, err := f.WriteAt([]byte("bytes"), off); err != nil {
				t.Fatal(err)
			}
		}
		clear(want[:3*extent+1])
		copy(want[5:], "bytesbytes")
		for _, off := range []int64{extent - 3, 3*extent + 1, 2 * extent} {
			copy(want[off:], "bytes")
		}
		m.wantContents(want)
		m.wantSize("written", 3*extent+6)
		if err := f.Truncate(3*extent + 100); err != nil {
			t.Error(err)
		}
		clear(want[3*extent+6 : 3*extent+100])
		f.Close()
		m.wantContents(want)
		if got, err := os.ReadFile(m.path("vg/data")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("afterwards: %d bytes, %v, or other bytes", len(got), err)
		}
	})
}

func TestOneSectorWrittenIsOneSectorChanged(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		want := bytes.Clone(contents(m.disks))
		f := m.open("vg/data", os.O_WRONLY|os.O_TRUNC)
		sector := bytes.Repeat([]byte{7}, 512)
		if _, err := f.Write(sector); err != nil {
			t.Fatal(err)
		}
		f.Close()
		copy(want, sector)
		m.wantContents(want)
		if got, err := os.ReadFile(m.path("vg/data")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("afterwards: %d bytes, %v, or other bytes", len(got), err)
		}
	})
}

func TestAppendingGoesOnAtTheEnd(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		m := mount(t, oneLV(), mode)
		want := bytes.Clone(contents(m.disks))
		f := m.open("vg/data", os.O_WRONLY|os.O_TRUNC|os.O_APPEND)
		if err := f.Truncate(20); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := f.Write([]byte("more")); err != nil {
				t.Error(err)
			}
		}
		other := m.open("vg/data", os.O_WRONLY|os.O_APPEND)
		if _, err := other.Write([]byte("last")); err != nil {
			t.Error(err)
		}
		clear(want[:20])
		copy(want[20:], "moremoremorelast")
		m.wantContents(want)
		m.wantSize("appended", 36)
	})
}

// At each call, copy_file_range(2) of FreeBSD truncates the target to where it is. It skips holes and blocks of zeros;
// if it has skipped the last, it extends the target by truncation.
func TestTruncatingToWhereACopyIsKeepsWhatIsCopied(t *testing.T) {
	m := mount(t, oneLV())
	want := bytes.Clone(contents(m.disks))
	const source, block = lvSize - 1000, 512
	data := make([]byte, source)
	for off := 0; off < source; off += 3 * block {
		for i := off; i < min(off+block, source); i++ {
			data[i] = byte(i%251 + 1)
		}
	}
	clear(data[source-5*block:])
	f := m.open("vg/data", os.O_WRONLY|os.O_TRUNC)
	for at := 0; at < source; {
		if err := f.Truncate(int64(at)); err != nil {
			t.Fatal(err)
		}
		end := min(at+7*block+77, source)
		skipped := false
		for off := at; off < end; off += block {
			b := data[off:min(off+block, end)]
			if skipped = bytes.Count(b, []byte{0}) == len(b); skipped {
				continue
			}
			if _, err := f.WriteAt(b, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		if skipped {
			if err := f.Truncate(int64(end)); err != nil {
				t.Fatal(err)
			}
		}
		at = end
	}
	m.wantSize("copied", source)
	f.Close()
	copy(want, data)
	m.wantContents(want)
}

func TestTheEndIsGoneWithTheLastWhomItConcerns(t *testing.T) {
	m := mount(t, oneLV())
	first := m.open("vg/data", os.O_WRONLY|os.O_TRUNC)
	second := m.open("vg/data", os.O_WRONLY)
	first.Close()
	m.wantSize("while another writes", 0)
	second.Close()
	m.wantSize("closed", lvSize)
	if _, err := m.open("vg/data", os.O_WRONLY).WriteAt([]byte{1}, lvSize-1); err != nil {
		t.Error(err)
	}
	m.wantSize("opened again", lvSize)
}

func TestReadersBesideSeeTheWholeLV(t *testing.T) {
	m := mount(t, oneLV())
	before := bytes.Clone(contents(m.disks))
	reader := m.open("vg/data", os.O_RDONLY)
	m.open("vg/data", os.O_WRONLY|os.O_TRUNC)
	m.wantSize("truncated", 0)
	got := make([]byte, len(before))
	if _, err := reader.ReadAt(got, 0); err != nil || !bytes.Equal(got, before) {
		t.Errorf("%v, or other bytes", err)
	}
}

// A loop device and a virtual machine write without an end. What they skip is kept.
func TestATruncationByAnotherProgramTakesNothingFromAWriter(t *testing.T) {
	testenv.NeedTools(t, "dd")
	m := mount(t, oneLV())
	want := bytes.Clone(contents(m.disks))
	writer := m.open("vg/data", os.O_RDWR)
	reached := make(chan error)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dd := exec.Command("dd", "of="+m.path("vg/data"), "bs=512", "iflag=fullblock", "status=none")
	dd.Stdin = in
	if err := dd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	sector := bytes.Repeat([]byte{7}, 512)
	if _, err := out.Write(sector); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dd has written", func() bool { return bytes.HasPrefix(contents(m.disks), sector) })
	copy(want, sector)
	m.wantSize("to others", 512)
	if _, err := writer.WriteAt([]byte("mine"), 3*extent); err != nil {
		t.Error(err)
	}
	copy(want[3*extent:], "mine")
	got := make([]byte, len(want))
	if _, err := writer.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("reading: %v, or other bytes", err)
	}
	go func() { out.Close(); reached <- dd.Wait() }()
	if err := <-reached; err != nil {
		t.Error(err)
	}
	m.wantSize("afterwards", lvSize)
	m.wantContents(want)
}

// unpunchable is a disk that guarantees no zeros.
type unpunchable struct{ *testpv.Disk }

func (unpunchable) PunchHole(int64, int64) error { return errors.ErrUnsupported }

// mendable is an unpunchable disk that cannot be written from some byte on until it is mended.
type mendable struct {
	unpunchable
	from   int64
	mended *atomic.Bool
}

func (d mendable) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.from && !d.mended.Load() {
		return 0, testpv.ErrIO
	}
	return d.Disk.WriteAt(p, off)
}

func TestTheEndStopsAtWhatCouldNotBeMadeZeros(t *testing.T) {
	disks := oneLV().Disks()
	var mended atomic.Bool
	broken := mendable{unpunchable{disks[0]}, testpv.DataStart + 11*extent, &mended} // the LV's second extent
	m := mountDevices(t, []lvm2.Device{broken, unpunchable{disks[1]}})
	m.disks = disks
	want := bytes.Clone(contents(disks))
	f := m.open("vg/data", os.O_RDWR|os.O_TRUNC)
	_, err := f.WriteAt([]byte("x"), 3*extent)
	wantErrno(t, "over a broken extent", err, syscall.EIO)
	m.wantSize("after that", 0)
	m.wantContents(want)
	wantErrno(t, "truncating over it", f.Truncate(3*extent), syscall.EIO)
	mended.Store(true)
	if _, err := f.WriteAt([]byte("x"), 3*extent); err != nil {
		t.Error(err)
	}
	clear(want[:3*extent])
	want[3*extent] = 'x'
	m.wantContents(want)
}

func TestTheEndOutlivesAReload(t *testing.T) {
	m := mount(t, oneLV())
	want := bytes.Clone(contents(m.disks))
	f := m.open("vg/data", os.O_RDWR|os.O_TRUNC)
	vg := oneLV()
	vg.Seqno++
	for _, d := range m.disks {
		d.SetText(vg.Text())
	}
	if err := m.Reload(); err != nil {
		t.Fatal(err)
	}
	m.wantSize("reloaded", 0)
	if _, err := f.WriteAt([]byte("x"), extent); err != nil {
		t.Error(err)
	}
	clear(want[:extent])
	want[extent] = 'x'
	m.wantContents(want)
}

// model is a regular file over the LV's bytes.
type model struct {
	bytes []byte
	end   int64
}

func (m *model) write(p []byte, off int64) {
	if off > m.end {
		clear(m.bytes[m.end:off])
	}
	copy(m.bytes[off:], p)
	m.end = max(m.end, off+int64(len(p)))
}

func (m *model) truncate(to int64) {
	if to > m.end {
		clear(m.bytes[m.end:to])
	}
	m.end = to
}

func TestATruncatedFileIsAsARegularOne(t *testing.T) {
	cachedAndNot(t, func(t *testing.T, mode func(*Config)) {
		for seed := range uint64(4) {
			random := rand.New(rand.NewPCG(seed, 1))
			devices := oneLV().Disks()
			m := mountDevices(t, []lvm2.Device{devices[0], devices[1]}, mode)
			m.disks = devices
			want := model{bytes.Clone(contents(m.disks)), lvSize}
			files := []*os.File{m.open("vg/data", os.O_RDWR), m.open("vg/data", os.O_RDWR), m.open("vg/data", os.O_WRONLY)}
			for range 150 {
				f := files[random.IntN(len(files))]
				off := random.Int64N(lvSize)
				switch random.IntN(4) {
				case 0:
					to := []int64{0, off, off / 16, want.end}[random.IntN(4)]
					if err := f.Truncate(to); err != nil {
						t.Fatal(err)
					}
					want.truncate(to)
				default:
					if random.IntN(2) == 0 {
						off = min(lvSize-1, want.end+random.Int64N(3000))
					}
					p := bytes.Repeat([]byte{byte(random.IntN(255) + 1)}, int(min(1+random.Int64N(9000), lvSize-off)))
					if _, err := f.WriteAt(p, off); err != nil {
						t.Fatal(err)
					}
					want.write(p, off)
				}
				m.wantSize("so far", want.end)
			}
			got, err := io.ReadAll(io.NewSectionReader(files[0], 0, lvSize))
			if err != nil || !bytes.Equal(got, want.bytes[:want.end]) {
				t.Errorf("seed %d: reads %d bytes, %v, or other bytes", seed, len(got), err)
			}
			m.wantContents(want.bytes)
			for _, f := range files {
				f.Close()
			}
			m.wantSize("closed", lvSize)
			m.wantContents(want.bytes)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	})
}

// All write at once, out of order. What each has written stays; what none has written reads as zeros.
func TestWritersOutOfOrderMakeNoZerosOfEachOthersBytes(t *testing.T) {
	for name, wrap := range map[string]func(*testpv.Disk) lvm2.Device{
		"punched": func(d *testpv.Disk) lvm2.Device { return d },
		"written": func(d *testpv.Disk) lvm2.Device { return unpunchable{d} },
	} {
		t.Run(name, func(t *testing.T) {
			disks := oneLV().Disks()
			m := mountDevices(t, []lvm2.Device{wrap(disks[0]), wrap(disks[1])})
			m.disks = disks
			const block = 512
			random := rand.New(rand.NewPCG(3, 4))
			for range 5 {
				want := bytes.Clone(contents(disks))
				clear(want)
				shared := m.open("vg/data", os.O_RDWR|os.O_TRUNC)
				blocks := random.Perm(lvSize / block)
				var wg sync.WaitGroup
				const writers = 4
				for w := range writers {
					f := shared
					if w%2 == 1 {
						f = m.open("vg/data", os.O_RDWR)
					}
					var mine []int
					for i, b := range blocks {
						if i%(2*writers) == w { // each block by one, and as many by none
							mine = append(mine, b)
						}
					}
					for _, b := range mine {
						for i := range block {
							want[b*block+i] = byte(w + 1)
						}
					}
					wg.Go(func() {
						for _, b := range mine {
							if _, err := f.WriteAt(bytes.Repeat([]byte{byte(w + 1)}, block), int64(b*block)); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				if err := shared.Truncate(lvSize); err != nil {
					t.Error(err)
				}
				m.wantContents(want)
				shared.Close()
			}
		})
	}
}
