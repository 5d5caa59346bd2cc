package testimages

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
)

// ErrWrong is wrapped by the error of Verify where the reader gave something else than the kernel. Any other error
// means that the reader refused.
var ErrWrong = errors.New("not as the kernel read it")

// Verify reads all of r, which has size bytes, and says how it differs from what the
// kernel gave: in size, in a byte, in what can be read and what cannot.
func (lv *LV) Verify(r io.ReaderAt, size int64) error {
	if lv.Expect == Error {
		return lv.verifyUnreadable(r, size)
	}
	if lv.SHA256 == "" {
		return fmt.Errorf("%s: expect.json has no sum for %q", lv.Path(), lv.Expect)
	}
	if size != lv.Size {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrWrong, lv.Path(), size, lv.Size)
	}
	sum := sha256.New()
	var differing []string
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), size-off)]
		if err := lv.readAround(r, p, off); err != nil {
			return err
		}
		sum.Write(p)
		mib := off >> 20
		if crc := fmt.Sprintf("%08x", crc32.ChecksumIEEE(p)); mib < int64(len(lv.CRC32MiB)) && crc != lv.CRC32MiB[mib] {
			differing = append(differing, fmt.Sprint(mib))
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != lv.SHA256 {
		return fmt.Errorf("%w: %s differs in MiB %v", ErrWrong, lv.Path(), differing)
	}
	return nil
}

// readAround fills p with the bytes at off, and with zeros where the kernel could not read. There r must fail, at both
// ends of each lost range; elsewhere it must not fail.
func (lv *LV) readAround(r io.ReaderAt, p []byte, off int64) error {
	end := off + int64(len(p))
	clear(p)
	for _, good := range lv.goodRanges(off, end) {
		n, err := r.ReadAt(p[good[0]-off:good[1]-off], good[0])
		if int64(n) != good[1]-good[0] || err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s at %d: read %d of %d bytes: %w", lv.Path(), good[0], n, good[1]-good[0], err)
		}
	}
	for _, bad := range lv.Bad {
		first, last := max(bad[0], off), min(bad[0]+bad[1], end)-512
		for _, at := range []int64{first, last} {
			if first > last {
				continue
			}
			if err := mustFail(r, at); err != nil {
				return fmt.Errorf("%s: %w", lv.Path(), err)
			}
		}
	}
	return nil
}

// goodRanges are the parts of [off, end) that can be read, as start and end.
func (lv *LV) goodRanges(off, end int64) (good [][2]int64) {
	bad := append([][2]int64{}, lv.Bad...)
	sort.Slice(bad, func(i, j int) bool { return bad[i][0] < bad[j][0] })
	for _, b := range bad {
		if stop := min(b[0], end); off < stop {
			good = append(good, [2]int64{off, stop})
		}
		off = max(off, b[0]+b[1])
	}
	if off < end {
		good = append(good, [2]int64{off, end})
	}
	return good
}

func (lv *LV) verifyUnreadable(r io.ReaderAt, size int64) error {
	if size != lv.Size {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrWrong, lv.Path(), size, lv.Size)
	}
	for off := int64(0); off < size; off += 64 << 10 {
		if err := mustFail(r, off); err != nil {
			return fmt.Errorf("%s: %w", lv.Path(), err)
		}
	}
	return nil
}

func mustFail(r io.ReaderAt, off int64) error {
	p := bytes.Repeat([]byte{0xa5}, 512)
	if n, err := r.ReadAt(p, off); err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: at %d, %d bytes are lost, but were read as %x", ErrWrong, off, n, p[:8])
	}
	return nil
}
