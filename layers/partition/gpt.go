package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"
)

// The header of a GPT and its entries. Offsets in bytes.
// (docs/format/04-below-lvm.md, section 3)
const (
	gptMagic       = "EFI PART"
	gptHeaderSize  = 12
	gptHeaderCRC   = 16
	gptMyLBA       = 24
	gptOtherLBA    = 32
	gptEntriesLBA  = 72
	gptEntryCount  = 80
	gptEntrySize   = 84
	gptEntriesCRC  = 88
	gptLeastHeader = 92

	guidType       = 0
	guidFirst      = 32
	guidLast       = 40
	guidLabel      = 56
	guidLabelEnd   = 128
	guidLeastEntry = 128

	maxEntrySize = 4096
	maxEntries   = 1 << 20 // bytes of all entries
)

// gptHeader reads the header in a sector. Without an error, nil means that there is none.
func (d *disk) gptHeader(lba int64) ([]byte, error) {
	b, err := d.read(lba, 512)
	if err != nil || b == nil || string(b[:len(gptMagic)]) != gptMagic {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(b[gptHeaderSize:]))
	if n < gptLeastHeader || n > d.sector {
		return nil, fmt.Errorf("GPT header in sector %d: %w: it says that it has %d bytes", lba, ErrDamaged, n)
	}
	if b, err = d.read(lba, n); err != nil {
		return nil, err
	}
	sum := crc32.NewIEEE()
	_, _ = sum.Write(b[:gptHeaderCRC])
	_, _ = sum.Write(make([]byte, 4))
	_, _ = sum.Write(b[gptHeaderCRC+4:])
	if got, want := sum.Sum32(), binary.LittleEndian.Uint32(b[gptHeaderCRC:]); got != want {
		return nil, fmt.Errorf("GPT header in sector %d: %w: checksum %08x, not %08x", lba, ErrDamaged, got, want)
	}
	if at := binary.LittleEndian.Uint64(b[gptMyLBA:]); at != uint64(lba) {
		return nil, fmt.Errorf("GPT header in sector %d: %w: it is that of sector %d", lba, ErrDamaged, at)
	}
	return b, nil
}

// gptTable reads the table that the header in a sector begins. It fails with ErrNone where there is
// no header.
func (d *disk) gptTable(lba int64) (t *Table, other int64, err error) {
	h, err := d.gptHeader(lba)
	switch {
	case err != nil:
		return nil, 0, err
	case h == nil:
		return nil, 0, ErrNone
	}
	other = int64(binary.LittleEndian.Uint64(h[gptOtherLBA:]))
	count := int64(binary.LittleEndian.Uint32(h[gptEntryCount:]))
	size := int64(binary.LittleEndian.Uint32(h[gptEntrySize:]))
	start := int64(binary.LittleEndian.Uint64(h[gptEntriesLBA:]))
	if size < guidLeastEntry || size > maxEntrySize || size&(size-1) != 0 || count*size > maxEntries {
		return nil, other, fmt.Errorf("GPT header in sector %d: %w: %d entries of %d bytes", lba, ErrDamaged, count, size)
	}
	entries, err := d.read(start, count*size)
	switch {
	case err != nil:
		return nil, other, err
	case entries == nil:
		return nil, other, fmt.Errorf("GPT header in sector %d: %w: its entries are beyond the end of the device, in sector %d", lba, ErrDamaged, uint64(start))
	}
	if got, want := crc32.ChecksumIEEE(entries), binary.LittleEndian.Uint32(h[gptEntriesCRC:]); got != want {
		return nil, other, fmt.Errorf("GPT entries in sector %d: %w: checksum %08x, not %08x", start, ErrDamaged, got, want)
	}
	t = &Table{Scheme: "GPT", SectorSize: d.sector}
	for i := range count {
		t.addGUIDEntry(d, int(i)+1, entries[i*size:][:guidLeastEntry])
	}
	return t, other, nil
}

func (t *Table) addGUIDEntry(d *disk, number int, e []byte) {
	if [16]byte(e[guidType:]) == [16]byte{} {
		return
	}
	first, last := binary.LittleEndian.Uint64(e[guidFirst:]), binary.LittleEndian.Uint64(e[guidLast:])
	if first == 0 || first > last || last >= 1<<62 {
		t.warn("partition %d makes no sense: it goes from sector %d to %d", number, first, last)
		return
	}
	p := Partition{Number: number, Type: guidName([16]byte(e[guidType:])), Label: label(e[guidLabel:guidLabelEnd])}
	t.add(d, p, int64(first), int64(last-first+1))
}

// guidTable reads the GPT that the MBR protects, or that is there without an MBR.
func (d *disk) guidTable(m bootRecord) (*Table, error) {
	t, other, err := d.gptTable(1)
	backup := d.sectors() - 1
	switch {
	case err == nil:
		if backupErr := d.checkBackup(other); backupErr != nil {
			t.warn("the backup of the GPT cannot be used: %w", backupErr)
		}
	case errors.Is(err, ErrNone) || errors.Is(err, ErrDamaged):
		if other > 1 && other < backup {
			backup = other // the device has grown
		}
		var backupErr error
		t, _, backupErr = d.gptTable(backup)
		if end := m.protected(); errors.Is(backupErr, ErrNone) && end > 1 && end < backup {
			if old, _, err := d.gptTable(end); err == nil {
				t, backupErr, backup = old, nil, end // it has grown, and only the MBR tells from where
			}
		}
		if backupErr != nil {
			return nil, d.noGPT(m, err, backupErr)
		}
		if errors.Is(err, ErrNone) {
			t.warn("the GPT is lost; going by its backup in sector %d", backup)
		} else {
			t.warn("%w; going by the backup in sector %d", err, backup)
		}
	default:
		return nil, err
	}
	switch {
	case !m.protective():
		t.Unprotected = true
		t.warn("no MBR protects the GPT")
	case len(m) > 1:
		t.warn("hybrid MBR; going by the GPT")
	}
	return t, nil
}

// checkBackup says what is wrong with the backup in a sector.
func (d *disk) checkBackup(lba int64) error {
	if lba <= 1 || lba >= d.sectors() {
		return fmt.Errorf("%w: it would be in sector %d of %d", ErrDamaged, uint64(lba), d.sectors())
	}
	_, _, err := d.gptTable(lba)
	if errors.Is(err, ErrNone) {
		return fmt.Errorf("%w: there is none in sector %d", ErrDamaged, lba)
	}
	return err
}

// noGPT is the error where neither the table nor its backup can be used.
func (d *disk) noGPT(m bootRecord, primary, backup error) error {
	lost, noBackup := errors.Is(primary, ErrNone), errors.Is(backup, ErrNone)
	switch {
	case !lost && noBackup:
		return fmt.Errorf("%w, and there is no backup in sector %d", primary, d.sectors()-1)
	case !lost:
		return fmt.Errorf("%w, and the backup is of no use: %w", primary, backup)
	case !m.protective():
		return ErrNone // at most there is what is left of an earlier table
	case !noBackup:
		return fmt.Errorf("the GPT is lost, and its backup is of no use: %w", backup)
	}
	return fmt.Errorf("%w: an MBR protects a GPT that is lost", ErrDamaged)
}

func label(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		units = append(units, binary.LittleEndian.Uint16(b[i:]))
	}
	text, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	return text
}

// guidName is the name of a type, or its GUID, of which the first three groups are little-endian.
func guidName(b [16]byte) string {
	guid := fmt.Sprintf("%08X-%04X-%04X-%X-%X", binary.LittleEndian.Uint32(b[:]),
		binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:])
	switch guid {
	case "E6D6D379-F507-44C2-A23C-238F2A3DF928":
		return "Linux LVM"
	case "A19D880F-05FC-4D3B-A006-743F0F84911E":
		return "Linux RAID"
	case "CA7D7CCB-63ED-4C53-861C-1742536059CC":
		return "Linux LUKS"
	case "0FC63DAF-8483-4772-8E79-3D69D8477DE4":
		return "Linux"
	case "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F":
		return "Linux swap"
	case "C12A7328-F81F-11D2-BA4B-00A0C93EC93B":
		return "EFI system"
	case "21686148-6449-6E6F-744E-656564454649":
		return "BIOS boot"
	case "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7":
		return "Windows data"
	}
	return guid
}
