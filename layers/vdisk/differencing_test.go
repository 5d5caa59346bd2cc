package vdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// layer is what one image of a chain adds: some sectors of its disk.
type layer struct {
	disk  []byte
	has   func(sector int) bool
	block int
}

// some is a layer over another disk: runs of its sectors are new. It returns the disk as it is with them.
func some(beneath []byte, size, sector, block int, seed uint64) (layer, []byte) {
	whole := make([]byte, size)
	copy(whole, beneath)
	rng := rand.New(rand.NewPCG(seed, 1))
	marked := make([]bool, size/sector)
	for range 40 {
		at, n := rng.IntN(len(marked)), 1+rng.IntN(200)
		for i := at; i < min(at+n, len(marked)); i++ {
			marked[i] = true
		}
	}
	for i, is := range marked {
		if is && i%3 != 0 { // zeros that are there count too
			copy(whole[i*sector:][:sector], bytes.Repeat([]byte{byte(seed), byte(i), byte(i >> 8), 1}, sector/4))
		} else if is {
			clear(whole[i*sector:][:sector])
		}
	}
	return layer{whole, func(i int) bool { return marked[i] }, block}, whole
}

// blocks calls write for each block of the layer that has sectors, with these.
func (l layer) blocks(sector int, write func(i int, has []bool, b []byte)) {
	for at := 0; at < len(l.disk); at += l.block {
		has, any := make([]bool, l.block/sector), false
		for s := range has {
			has[s] = at+s*sector < len(l.disk) && l.has(at/sector+s)
			any = any || has[s]
		}
		if !any {
			continue
		}
		// What is not marked holds something else, which is not to be seen.
		b := bytes.Repeat([]byte{0xee}, l.block)
		for s, is := range has {
			if is {
				copy(b[s*sector:][:sector], l.disk[at+s*sector:])
			}
		}
		write(at/l.block, has, b)
	}
}

func inUTF16(order binary.AppendByteOrder, text string) (b []byte) {
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

// vhdNames are the names of a parent by platform; "" is the one in UTF-16 in the header.
type vhdNames map[string]string

// differencingVHD makes an image by the specification.
func differencingVHD(l layer, id, parent byte, when uint32, names vhdNames) []byte {
	const locators = 4096 // where the names are
	head := make([]byte, 512+1024)
	copy(head, vhdMagic)
	be64(vhdHeaderPlace, 512)(head)
	be64(vhdSize, uint64(len(l.disk)))(head)
	be32(vhdType, vhdDiffering)(head)
	copy(head[vhdID:], bytes.Repeat([]byte{id}, 16))
	header := head[512:]
	copy(header, vhdHeaderMagic)
	entries := (len(l.disk) + l.block - 1) / l.block
	be64(vhdTable, 16384)(header)
	be32(vhdEntries, uint32(entries))(header)
	be32(vhdBlockSize, uint32(l.block))(header)
	copy(header[vhdParentID:], bytes.Repeat([]byte{parent}, 16))
	be32(vhdParentTime, when)(header)
	copy(header[vhdParentName:], inUTF16(binary.BigEndian, names[""]))
	b := make([]byte, 16384+(entries*4+511)/512*512)
	slot := 0
	for platform, name := range names {
		if platform == "" {
			continue
		}
		text := []byte(name)
		if strings.HasPrefix(platform, "W2") {
			text = inUTF16(binary.LittleEndian, name)
		}
		at := locators + slot*512
		entry := header[vhdLocators+slot*vhdLocatorSize:]
		copy(entry, platform)
		be32(4, 1)(entry)
		be32(vhdLocatorLength, uint32(len(text)))(entry)
		be64(vhdLocatorPlace, uint64(at))(entry)
		copy(b[at:], text)
		slot++
	}
	copy(b, head)
	for i := range entries {
		be32(16384+i*4, vhdUnused)(b)
	}
	l.blocks(512, func(i int, has []bool, block []byte) {
		be32(16384+i*4, uint32(len(b)/512))(b)
		bitmap := make([]byte, (len(has)/8+511)/512*512)
		for s, is := range has {
			if is {
				bitmap[s/8] |= 0x80 >> (s % 8)
			}
		}
		b = append(append(b, bitmap...), block...)
	})
	return append(b, resumVHD(b)[:512]...)
}

// differencingVHDX makes an image by the specification. state is the parent's.
func differencingVHDX(l layer, sector int, state []byte, texts [][2]string) []byte {
	const mib = 1 << 20
	b := make([]byte, 3*mib)
	copy(b, sampleVHDX()[:2*mib])
	for _, off := range vhdxHeaderPlaces {
		copy(b[off+vhdxDataWrite:], state)
	}
	m := b[mib:]
	m[vhdxMetadataCount] = 6
	le32(4096, uint32(l.block))(m)
	le32(4096+4, vhdxHasParent)(m)
	le64(4096+8, uint64(len(l.disk)))(m)
	le32(4096+32, uint32(sector))(m)
	locator := make([]byte, vhdxLocatorEntry+len(texts)*vhdxLocatorLength)
	copy(locator, vhdxLocatorKind)
	binary.LittleEndian.PutUint16(locator[vhdxLocatorCount:], uint16(len(texts)))
	for i, text := range texts {
		e := vhdxLocatorEntry + i*vhdxLocatorLength
		for j, part := range text {
			encoded := inUTF16(binary.LittleEndian, part)
			binary.LittleEndian.PutUint32(locator[e+4*j:], uint32(len(locator)))
			binary.LittleEndian.PutUint16(locator[e+8+2*j:], uint16(len(encoded)))
			locator = append(locator, encoded...)
		}
	}
	item := m[vhdxItem+5*vhdxItemSize:]
	copy(item, vhdxParentLocator)
	le32(16, 8192)(item)
	le32(20, uint32(len(locator)))(item)
	le32(24, vhdxItemRequired)(item)
	copy(m[8192:], locator)
	chunk := 1 << 23 * sector / l.block
	l.blocks(sector, func(i int, has []bool, block []byte) {
		bat := 2*mib + (i+i/chunk)*8
		state := uint64(vhdxPartly)
		if !slices.Contains(has, false) {
			state = vhdxPresent
		} else {
			entry := 2*mib + (i/chunk*(chunk+1)+chunk)*8
			if binary.LittleEndian.Uint64(b[entry:]) == 0 {
				le64(entry, uint64(len(b))|vhdxPresent)(b)
				b = append(b, make([]byte, mib)...)
			}
			bitmap := b[binary.LittleEndian.Uint64(b[entry:])>>20<<20:]
			for s, is := range has {
				if n := i%chunk*len(has) + s; is {
					bitmap[n/8] |= 1 << (n % 8)
				}
			}
		}
		le64(bat, uint64(len(b))|state)(b)
		b = append(b, block...)
	})
	for _, off := range vhdxHeaderPlaces {
		le64(int(off)+vhdxLogPlace, uint64(len(b)))(b)
	}
	return resumVHDX(append(b, make([]byte, mib)...))
}

// base makes what a chain ends with, and returns its disk.
func (w workshop) base(name, format, options string, size int) []byte {
	w.Helper()
	w.write("raw", disk(size, 9))
	args := []string{"convert", "-f", "raw", "-O", format}
	if options != "" {
		args = append(args, "-o", options)
	}
	w.img(append(args, "raw", name)...)
	return w.truth(name, "-f", format)
}

// identify gives a VHD image made by QEMU an ID.
func (w workshop) identify(name string, id byte) {
	w.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		w.Fatal(err)
	}
	for _, at := range []int{0, len(b) - 512} {
		if footer := b[at:][:512]; string(footer[:8]) == vhdMagic {
			copy(footer[vhdID:], bytes.Repeat([]byte{id}, 16))
			sumVHD(footer, vhdChecksum)
		}
	}
	w.write(name, b)
}

func TestChainsOfDifferencingVHDShowWhatEachAdds(t *testing.T) {
	testenv.Long(t)
	for _, c := range []struct {
		name, options string
		sizes         [3]int // of the disks, in sectors; 0 is as the one beneath
		block         int
		names         [2]vhdNames
	}{
		{"relative paths of Windows", "force_size=on", [3]int{10240}, 2 << 20, [2]vhdNames{{"W2ru": `.\base.vhd`, "": "other.vhd"}, {"W2ru": `.\middle.vhd`}}},
		{"over a fixed one", "subformat=fixed,force_size=on", [3]int{10240}, 2 << 20, [2]vhdNames{{"W2ru": `base.vhd`}, {"": "middle.vhd"}}},
		{"absolute paths of Windows", "force_size=on", [3]int{10240}, 512 << 10, [2]vhdNames{{"W2ku": `C:\VMs\base.vhd`}, {"W2ku": `\\server\share\middle.vhd`}}},
		{"URLs", "force_size=on", [3]int{10240}, 2 << 20, [2]vhdNames{{"MacX": "file://./base.vhd"}, {"MacX": "file:///far/away/middle%2evhd"}}},
		{"larger than what is beneath", "force_size=on", [3]int{10240, 10243, 20480}, 2 << 20, [2]vhdNames{{"W2ru": `.\base.vhd`}, {"W2ru": `.\middle.vhd`}}},
		{"smaller than what is beneath", "force_size=on", [3]int{10240, 7001, 6000}, 2 << 20, [2]vhdNames{{"W2ru": `.\base.vhd`}, {"W2ru": `.\middle.vhd`}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			want := w.base("base.vhd", "vpc", c.options, c.sizes[0]*512)
			w.identify("base.vhd", 1)
			for i, name := range []string{"middle.vhd", "top.avhd"} {
				size := c.sizes[i+1] * 512
				if size == 0 {
					size = len(want)
				}
				var l layer
				l, want = some(want, size, 512, c.block, uint64(i+5))
				w.write(name, differencingVHD(l, byte(i+2), byte(i+1), 0, c.names[i]))
			}
			m := w.open("top.avhd")
			checkImage(t, m, want)
			var names []string
			for _, f := range m.Info().Files {
				names = append(names, filepath.Base(f.Name()))
			}
			if want := []string{"middle.vhd", "base.vhd"}; !slices.Equal(names, want) {
				t.Errorf("files: %q", names)
			}
		})
	}
}

func TestChainsOfDifferencingVHDXShowWhatEachAdds(t *testing.T) {
	testenv.Long(t)
	for _, c := range []struct {
		name   string
		block  int
		sector int
		size   [3]int // MiB; 0 is as the one beneath
	}{
		{"blocks of 1 MiB", 1 << 20, 512, [3]int{9}},
		{"blocks of 32 MiB", 32 << 20, 512, [3]int{40}},
		{"larger than what is beneath", 2 << 20, 512, [3]int{9, 11, 20}},
		{"smaller than what is beneath", 2 << 20, 512, [3]int{9, 8, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			want := w.base("base.vhdx", "vhdx", "block_size=1M", c.size[0]<<20)
			header, _, err := vhdxCurrentHeader(w.device("base.vhdx"))
			if err != nil {
				t.Fatal(err)
			}
			state, next := header[vhdxDataWrite:][:16], "base.vhdx"
			for i, name := range []string{"middle.avhdx", "top.avhdx"} {
				size := c.size[i+1] << 20
				if size == 0 {
					size = len(want)
				}
				var l layer
				l, want = some(want, size, c.sector, c.block, uint64(i+5))
				own := bytes.Repeat([]byte{byte(i + 1)}, 16)
				w.write(name, differencingVHDX(l, c.sector, own, [][2]string{
					{"parent_linkage", strings.ToUpper(guidText(state))}, {"relative_path", `.\` + next}, {"absolute_win32_path", `\\?\C:\VMs\elsewhere.vhdx`},
				}))
				state, next = own, name
			}
			m := w.open("top.avhdx")
			checkImage(t, m, want)
			if n := len(m.Info().Files); n != 2 {
				t.Errorf("%d files", n)
			}
		})
	}
}

func TestABitmapOfVHDXIsThatOfItsChunk(t *testing.T) {
	testenv.Long(t)
	// With sectors of 512 bytes and blocks of 256 MiB, a chunk is of 16 blocks.
	w := newWorkshop(t)
	w.img("create", "-f", "vhdx", "base.vhdx", "9G")
	places := []string{"0", "255M", "4095M", "4096M", "8191M", "8192M"}
	for i, at := range places {
		w.io("base.vhdx", "write -P "+string(rune('1'+i))+" "+at+" 600k")
	}
	header, _, err := vhdxCurrentHeader(w.device("base.vhdx"))
	if err != nil {
		t.Fatal(err)
	}
	b := differencingVHDX(layer{block: 256 << 20}, 512, make([]byte, 16), [][2]string{{"parent_linkage", guidText(header[vhdxDataWrite:][:16])}, {"relative_path", "base.vhdx"}})
	const mib = 1 << 20
	le64(mib+4096+8, 9<<30)(b)
	// Of block 17, in chunk 1, sectors 3 and 4 are here.
	place := uint64(len(b))
	le64(2*mib+(17+1)*8, (place+mib)|vhdxPartly)(b)
	le64(2*mib+(2*17-1)*8, place|vhdxPresent)(b)
	b = append(b, make([]byte, 2*mib)...)
	bit := (17-16)*(256<<20/512) + 3
	b[place+uint64(bit/8)] = 3 << (bit % 8)
	copy(b[place+mib+3*512:], bytes.Repeat([]byte{0xab}, 1024))
	w.write("top.vhdx", b)
	m := w.open("top.vhdx")
	for i, at := range []int64{0, 255, 4095, 4096, 8191, 8192} {
		p := make([]byte, 600<<10)
		if _, err := m.ReadAt(p, at<<20); err != nil || !bytes.Equal(p, bytes.Repeat([]byte{byte(1 + i)}, len(p))) {
			t.Errorf("at %d MiB: %v %v", at, p[:2], err)
		}
	}
	p := make([]byte, 3072)
	want := slices.Concat(make([]byte, 1024), bytes.Repeat([]byte{0xab}, 1024), make([]byte, 1024))
	if _, err := m.ReadAt(p, 17*256<<20+512); err != nil || !bytes.Equal(p, want) {
		t.Errorf("%v %x", err, p[1020:1030])
	}
}

// chainVHD makes a chain of one image over a base with ID 1, and opens it.
func chainVHD(t *testing.T, parent byte, when uint32, names vhdNames, change func(w workshop)) (Image, []byte, error) {
	t.Helper()
	w := newWorkshop(t)
	want := w.base("base.vhd", "vpc", "force_size=on", 5<<20)
	w.identify("base.vhd", 1)
	l, want := some(want, len(want), 512, 2<<20, 3)
	w.write("top.vhd", differencingVHD(l, 2, parent, when, names))
	if change != nil {
		change(w)
	}
	m, err := w.tryOpen("top.vhd", Options{})
	return m, want, err
}

func TestADifferencingVHDIsReadOverItsOwnParentOnly(t *testing.T) {
	testenv.Long(t)
	names := vhdNames{"W2ru": `.\base.vhd`}
	for _, c := range []struct {
		name   string
		parent byte
		names  vhdNames
		change func(w workshop)
		want   string
		kind   error
	}{
		{"another ID", 9, names, nil, "has the ID 0101", ErrDamaged},
		{"no name", 1, nil, nil, "does not name a file", ErrDamaged},
		{"a file that is not there", 1, vhdNames{"W2ru": `.\none.vhd`}, nil, "no such file", os.ErrNotExist},
		{"outside of the directory", 1, vhdNames{"W2ru": `..\..\..\..\..\..\..\etc\passwd`}, nil, "outside of the image's directory", blockdev.ErrOutside},
		{"over itself", 2, vhdNames{"W2ru": `top.vhd`}, nil, "over itself", ErrDamaged},
		{"a parent of another kind", 1, names, func(w workshop) { w.img("create", "-f", "qcow2", "base.vhd", "5M") }, "is no VHD image", ErrDamaged},
		{"a raw parent that is none", 0, names, nil, "no ID is given", ErrDamaged},
		{"a raw parent that is only guessed", 0, vhdNames{"W2ku": `C:\raw`}, nil, "does not name a file", ErrDamaged},
		{"a name of 5000 bytes", 1, vhdNames{"MacX": strings.Repeat("x", 5000)}, nil, "5000 bytes", ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := chainVHD(t, c.parent, 0, c.names, c.change)
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), "top.vhd") {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}

func TestADifferencingVHDOverARawDisk(t *testing.T) {
	m, want, err := chainVHD(t, 0, 0, vhdNames{"MacX": "file://./raw"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, m, want)
}

func TestOfTwoFilesNamedTheOneWithTheIDIsTheParent(t *testing.T) {
	m, want, err := chainVHD(t, 1, 0, vhdNames{"W2ru": `.\decoy.vhd`, "W2ku": `D:\moved\base.vhd`}, func(w workshop) {
		w.base("decoy.vhd", "vpc", "force_size=on", 1<<20)
	})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, m, want)
	if n := len(m.Info().Files); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestAParentOfVHDThatMayHaveBeenWrittenIsWarnedOf(t *testing.T) {
	testenv.Long(t)
	written := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	said := uint32(written.Sub(vhdEpoch) / time.Second)
	for _, c := range []struct {
		said uint32
		warn bool
	}{{0, false}, {said, false}, {said + 2, false}, {said - 1000, true}, {said + 1000, true}} {
		m, want, err := chainVHD(t, 1, c.said, vhdNames{"W2ru": `.\base.vhd`}, func(w workshop) {
			if err := os.Chtimes(w.path("base.vhd"), written, written); err != nil {
				t.Fatal(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, m, want)
		if got := len(m.Warnings()) == 1 && strings.Contains(m.Warnings()[0].Error(), "2020-02-03 04:05:06"); got != c.warn {
			t.Errorf("%d: %v", c.said, m.Warnings())
		}
	}
}

func TestADifferencingVHDXIsReadOverTheStateOfItsParentOnly(t *testing.T) {
	testenv.Long(t)
	path := [2]string{"relative_path", `.\base.vhdx`}
	linked := func(state []byte) [2]string { return [2]string{"parent_linkage", guidText(state)} }
	other := [2]string{"parent_linkage", "{00000000-0000-0000-0000-000000000001}"}
	for _, c := range []struct {
		name   string
		texts  func(state []byte) [][2]string
		change func(w workshop)
		want   string
		kind   error
	}{
		{"as linked", func(s []byte) [][2]string { return [][2]string{linked(s), path} }, nil, "", nil},
		{"linked a second time", func(s []byte) [][2]string {
			return [][2]string{other, {"parent_linkage2", guidText(s)}, path}
		}, nil, "", nil},
		{"another state", func([]byte) [][2]string { return [][2]string{other, path} }, nil, "was changed", ErrDamaged},
		{"written since", func(s []byte) [][2]string { return [][2]string{linked(s), path} }, func(w workshop) { w.io("base.vhdx", "write -P 1 0 512") }, "was changed", ErrDamaged},
		{"no state", func([]byte) [][2]string { return [][2]string{path} }, nil, "which state", ErrDamaged},
		{"no path", func(s []byte) [][2]string { return [][2]string{linked(s)} }, nil, "does not name a file", ErrDamaged},
		{"outside", func(s []byte) [][2]string {
			return [][2]string{linked(s), {"relative_path", `..\..\..\..\..\..\..\..\etc\passwd`}}
		}, nil, "outside of the image's directory", blockdev.ErrOutside},
		{"twice", func(s []byte) [][2]string { return [][2]string{linked(s), path, path} }, nil, "twice", ErrDamaged},
		{"of another format", func(s []byte) [][2]string { return [][2]string{linked(s), path} }, func(w workshop) { w.img("create", "-f", "qcow2", "base.vhdx", "5M") }, "is no VHDX image", ErrDamaged},
		{"of itself", func([]byte) [][2]string {
			return [][2]string{{"parent_linkage", guidText(bytes.Repeat([]byte{7}, 16))}, {"relative_path", "top.vhdx"}}
		}, nil, "over itself", ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			want := w.base("base.vhdx", "vhdx", "block_size=1M", 5<<20)
			header, _, err := vhdxCurrentHeader(w.device("base.vhdx"))
			if err != nil {
				t.Fatal(err)
			}
			l, want := some(want, len(want), 512, 1<<20, 3)
			w.write("top.vhdx", differencingVHDX(l, 512, bytes.Repeat([]byte{7}, 16), c.texts(header[vhdxDataWrite:][:16])))
			if c.change != nil {
				c.change(w)
			}
			m, err := w.tryOpen("top.vhdx", Options{})
			switch {
			case c.want == "" && err == nil:
				checkImage(t, m, want)
			case c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.kind):
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}

func TestLoopsOfDifferencingImagesEnd(t *testing.T) {
	w := newWorkshop(t)
	l := layer{make([]byte, 1<<20), func(int) bool { return false }, 1 << 20}
	w.write("a.vhd", differencingVHD(l, 1, 2, 0, vhdNames{"": "b.vhd"}))
	w.write("b.vhd", differencingVHD(l, 2, 1, 0, vhdNames{"": "a.vhd"}))
	for i := range maxDepth + 2 {
		w.write(string(rune(0x1000+i)), differencingVHD(l, byte(i), byte(i+1), 0, vhdNames{"": string(rune(0x1001 + i))}))
	}
	for name, want := range map[string]string{"a.vhd": "over itself", "\u1001": "a chain of more than 100 images"} {
		if _, err := w.tryOpen(name, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatAParentSaysOfItselfIsNotAsked(t *testing.T) {
	// The disk in a fixed VHD, and a raw one, may begin as an image of another format does. Whoever writes the disk
	// must not choose files of the host by that.
	w := newWorkshop(t)
	evil := make([]byte, 1<<20)
	copy(evil, sampleQcow2()[:512])
	w.write("raw", evil)
	w.img("convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", "raw", "base.vhd")
	w.identify("base.vhd", 1)
	l, want := some(evil, len(evil), 512, 2<<20, 3)
	w.write("top.vhd", differencingVHD(l, 2, 1, 0, vhdNames{"": "base.vhd"}))
	checkImage(t, w.open("top.vhd"), want)
	w.img("create", "-f", "qcow2", "-b", "base.vhd", "-F", "vpc", "top.qcow2", "1M")
	checkImage(t, w.open("top.qcow2"), w.truth("top.qcow2"))
}

func FuzzVHDParent(f *testing.F) {
	l := layer{make([]byte, 1<<20), func(i int) bool { return i%3 == 0 }, 64 << 10}
	b := differencingVHD(l, 1, 2, 0, vhdNames{"W2ru": `.\base.vhd`, "MacX": "file://./base", "": "base"})
	fuzzOver(f, b, resumVHD, 512+vhdParentID, 512+vhdParentName, 512+vhdLocators, 512+vhdLocators+vhdLocatorPlace, 4096, 16384)
}

func FuzzVHDXParent(f *testing.F) {
	l := layer{make([]byte, 2<<20), func(i int) bool { return i%3 == 0 }, 1 << 20}
	b := differencingVHDX(l, 512, make([]byte, 16), [][2]string{{"parent_linkage", guidText(make([]byte, 16))}, {"relative_path", `base`}})
	fuzzOver(f, b, resumVHDX, 1<<20+8192+vhdxLocatorCount, 1<<20+8192+vhdxLocatorEntry, 1<<20+8192+40, 2<<20, 1<<20+vhdxItem+5*vhdxItemSize+16)
}

// fuzzOver is fuzz for an image that lies over a raw or sample one.
func fuzzOver(f *testing.F, image []byte, resum func([]byte) []byte, places ...int) {
	open := func(from mapping.Device, _ string) (mapping.Device, error) {
		if bytes.HasPrefix(image, []byte("vhdx")) {
			return &memory{data: sampleVHDX()}, nil
		}
		return &memory{data: make([]byte, 1<<19)}, nil
	}
	fuzzWith(f, Options{Files: open}, image, resum, places...)
}

func TestSectorsOf4096BytesInAChainOfVHDX(t *testing.T) {
	base := sampleVHDX()
	le32(1<<20+4096+32, 4096)(base)
	l, want := some(append(sampleBytes(), make([]byte, sampleSize-sampleData)...), sampleSize, 4096, 2<<20, 3)
	texts := [][2]string{{"parent_linkage", guidText(make([]byte, 16))}, {"relative_path", "base"}}
	open := func(from mapping.Device, name string) (mapping.Device, error) { return &memory{data: base}, nil }
	m, err := Open(&memory{data: differencingVHDX(l, 4096, make([]byte, 16), texts)}, Options{Files: open})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, m, want)
	l, _ = some(nil, sampleSize, 512, 2<<20, 3)
	_, err = Open(&memory{data: differencingVHDX(l, 512, make([]byte, 16), texts)}, Options{Files: open})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "over a disk with sectors of 4096") {
		t.Error(err)
	}
}
