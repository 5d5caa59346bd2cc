package testimages

import (
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
)

// chocolate is an LV in one piece, read as the article lvm2hack does it.
func chocolate(t *testing.T) (*LV, *io.SectionReader) {
	c := Load(t, "banana")
	disk, err := os.Open(c.Unpack(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	for i := range c.LVs {
		if lv := &c.LVs[i]; lv.Path() == "banana/chocolate" {
			return lv, io.NewSectionReader(disk, 196608, 33554432)
		}
	}
	t.Fatal("no banana/chocolate")
	return nil, nil
}

type readerFunc func(p []byte, off int64) (int, error)

func (f readerFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func TestVerifyAcceptsTheTruth(t *testing.T) {
	lv, r := chocolate(t)
	if err := lv.Verify(r, r.Size()); err != nil {
		t.Error(err)
	}
}

func TestVerifyNamesTheMiBOfAWrongByte(t *testing.T) {
	lv, r := chocolate(t)
	const wrong = 5<<20 + 77
	err := lv.Verify(readerFunc(func(p []byte, off int64) (int, error) {
		n, err := r.ReadAt(p, off)
		if off <= wrong && wrong < off+int64(n) {
			p[wrong-off]++
		}
		return n, err
	}), r.Size())
	if err == nil || !strings.Contains(err.Error(), "MiB [5]") {
		t.Errorf("error is %v", err)
	}
}

func TestVerifyRejectsAWrongSize(t *testing.T) {
	lv, r := chocolate(t)
	if lv.Verify(r, r.Size()-512) == nil {
		t.Error("no error")
	}
}

func TestVerifyWantsLostRangesToFailAndNothingElse(t *testing.T) {
	const zerosSum = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58" // of 1 MiB
	lv := &LV{
		Size: 1 << 20, Expect: Partial, SHA256: zerosSum, Bad: [][2]int64{{65536, 131072}},
		CRC32MiB: []string{strconv.FormatUint(uint64(crc32.ChecksumIEEE(make([]byte, 1<<20))), 16)},
	}
	lossFrom := func(start, end int64) readerFunc {
		return func(p []byte, off int64) (int, error) {
			if off < end && off+int64(len(p)) > start {
				return 0, errors.New("input/output error")
			}
			clear(p)
			return len(p), nil
		}
	}
	if err := lv.Verify(lossFrom(65536, 196608), lv.Size); err != nil {
		t.Errorf("the range as expected: %v", err)
	}
	if lv.Verify(lossFrom(65536, 196608+512), lv.Size) == nil {
		t.Error("no error for a good sector that fails")
	}
	if lv.Verify(lossFrom(65536+512, 196608), lv.Size) == nil {
		t.Error("no error for a lost sector that reads")
	}
}
