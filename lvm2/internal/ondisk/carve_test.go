package ondisk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"lvm2fs/internal/test/testimages"
)

// carveEverything is Carve, slow and plain: it looks at every sector, in order.
func carveEverything(r io.ReaderAt, size int64) *Carved {
	c := carver{seen: map[[sha256.Size]byte]bool{}}
	for off := int64(0); off < size; off += pieceSize {
		b := make([]byte, min(pieceSize, size-off))
		c.found.Unread += readPiece(r, b, off)
		c.search(b, off)
	}
	c.endText(false)
	return &c.found
}

// carvedAlike fails the test unless Carve finds what there is.
func carvedAlike(t *testing.T, r io.ReaderAt, size int64) *Carved {
	t.Helper()
	got, err := Carve(context.Background(), r, size, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := carveEverything(r, size); !reflect.DeepEqual(want, got) {
		t.Fatalf("Carve finds texts %v, labels %+v, areas %+v; there are %v, %+v, %+v",
			seqnos(got.Texts), got.Labels, got.Areas, seqnos(want.Texts), want.Labels, want.Areas)
	}
	return got
}

func TestCarvingFindsWhatAnEndOfAPieceCuts(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 1))
	for range 20 {
		d := make(disk, (1+r.IntN(6))*pieceSize+r.IntN(3*SectorSize))
		for range 1 + r.IntN(5) {
			w := newWriter()
			for seqno := range 1 + r.IntN(4) {
				w.write(vgText(seqno, 600+r.IntN(6000)))
			}
			// Near the end of a piece, so that a header, a label or a text is on either side.
			at := (1+r.IntN(6))*pieceSize - r.IntN(len(w.d)/SectorSize)*SectorSize
			if at < len(d) {
				copy(d[at:], w.d)
			}
		}
		carvedAlike(t, d, d.size())
	}
}

func TestCarvingFindsATextThatGoesOnForManyPieces(t *testing.T) {
	for _, size := range []int{2*pieceSize - 5*SectorSize, 2*pieceSize + 1, carvePieces*pieceSize + 700} {
		w := vgText(1, 100)
		w += strings.Repeat("#", size-len(w))
		d := make(disk, len(w)+3*pieceSize)
		copy(d[pieceSize-SectorSize:], w)
		if c := carvedAlike(t, d, d.size()); len(c.Texts) != 1 || string(c.Texts[0].Bytes) != w {
			t.Errorf("of a text of %d bytes: %v", len(w), seqnos(c.Texts))
		}
	}
}

func TestCarvingFindsATextThatBeginsInTheLastPieceOfMany(t *testing.T) {
	const end = carvePieces * pieceSize
	d := make(disk, end+pieceSize)
	copy(d[end-SectorSize:], vgText(1, 2000))
	if c := carvedAlike(t, d, d.size()); len(c.Texts) != 1 || !c.Texts[0].Ended {
		t.Errorf("%v", seqnos(c.Texts))
	}
}

func TestCarvingFindsTextsBesideBadSectors(t *testing.T) {
	w := newWriter()
	for seqno := range 4 {
		w.write(vgText(seqno, 1700))
	}
	d := make(disk, 2*pieceSize)
	copy(d[pieceSize-8*SectorSize:], w.d)
	for from := int64(pieceSize - 8*SectorSize); from < pieceSize+40*SectorSize; from += 3 * SectorSize {
		carvedAlike(t, failing{d, from, from + 1, errors.New("medium error")}, d.size())
	}
}

func TestCarvingAnImageFindsAllThatIsThere(t *testing.T) {
	const most = 16 << 20 // bytes of each disk: most of the rest are holes
	found := 0
	for _, name := range []string{"outdated-pv", "part-gpt", "part-mbr", "two-vgs"} {
		c := testimages.Load(t, name)
		for i, path := range c.Unpack(t) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(fmt.Sprintf("%s disk %d", c.Name, i), func(t *testing.T) {
				found += len(carvedAlike(t, f, min(c.Disks[i].Size, most)).Texts)
			})
			f.Close()
		}
	}
	if found == 0 {
		t.Error("no text on any image")
	}
}
