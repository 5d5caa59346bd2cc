package md

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"lvm2fs/internal/test/testmd"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/mapping"
)

// random is n bytes that are the same in every run.
func random(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// device is a disk called dN.
func device(n int, disk []byte) *testpv.Disk {
	return &testpv.Disk{Label: fmt.Sprintf("d%d", n), Bytes: disk}
}

func member(t *testing.T, dev mapping.Device) Member {
	t.Helper()
	s, err := Find(dev, dev.Size())
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		t.Fatalf("%s is no member", dev.Name())
	}
	return Member{dev, s}
}

// members are those of the disks that are not nil, called by their place.
func members(t *testing.T, disks [][]byte) (all []Member) {
	t.Helper()
	for i, d := range disks {
		if d != nil {
			all = append(all, member(t, device(i, d)))
		}
	}
	return all
}

func assemble(t *testing.T, disks [][]byte) *Assembly {
	t.Helper()
	a, err := Assemble(members(t, disks), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// holds says that the array begins with data.
func (a *Assembly) holds(t *testing.T, data []byte) {
	t.Helper()
	got := make([]byte, len(data))
	if n, err := a.Array.ReadAt(got, 0); n != len(got) || err != nil && err != io.EOF {
		t.Fatalf("%d of %d bytes: %v", n, len(got), err)
	}
	if !bytes.Equal(got, data) {
		t.Error("the array has other bytes")
	}
}

// The arrays of most tests: 3 members of 1 MiB in chunks of 4 KiB.
const size = 1 << 20

func raid5() testmd.Member {
	return testmd.Member{Version: "1.2", Name: "lab:r5", Array: [16]byte{5}, Level: 5, Layout: 2, Chunk: 8, Disks: 3, Resync: testmd.All}
}

func raid1() testmd.Member {
	return testmd.Member{Version: "1.2", Name: "lab:r1", Array: [16]byte{1}, Level: 1, Disks: 2, Resync: testmd.All}
}
