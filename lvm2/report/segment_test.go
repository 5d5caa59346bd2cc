package report

import (
	"testing"

	"lvm2fs/lvm2/metadata"
)

// As lvs 2.03.31 shows it of a leg that was made with these settings.
func TestTheIntegritySettingsAreThoseThatLVMGives(t *testing.T) {
	m := &metadata.Integrity{Settings: map[string]uint64{
		"journal_sectors": 8192, "allow_discards": 1, "bitmap_flush_interval": 3000, "commit_time": 5000, "journal_watermark": 40,
	}}
	if got, want := integritySettings(m), "journal_watermark=40,commit_time=5000,bitmap_flush_interval=3000,allow_discards=1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := integritySettings(&metadata.Integrity{}); got != "" {
		t.Errorf("without any: %q", got)
	}
}
