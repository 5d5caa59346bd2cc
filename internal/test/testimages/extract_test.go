package testimages

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestExtractGivesTheDiskThatWasPacked(t *testing.T) {
	dir := t.TempDir()
	if err := Extract("../../../testdata/images/banana/disks.tar.zst", dir); err != nil {
		t.Fatal(err)
	}
	disk, err := os.Open(filepath.Join(dir, "ad0s7.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if info, _ := disk.Stat(); info.Size() != 121634816 {
		t.Errorf("size is %d, want 121634816", info.Size())
	}
	// chocolate lies in one piece at the offset that the article lvm2hack gives.
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(disk, 196608, 33554432)); err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(sum.Sum(nil)), "c13b3906a237d68d982a9f3fa671051008f2402ab52bebff8e33a5bbb2618fed"; got != want {
		t.Errorf("sha256 of chocolate is %s, want %s", got, want)
	}
}

func TestExtractOfADamagedArchiveFails(t *testing.T) {
	whole, err := os.ReadFile("../../../testdata/images/banana/disks.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "disks.tar.zst")
	if err := os.WriteFile(cut, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Extract(cut, t.TempDir()); err == nil {
		t.Error("no error for half an archive")
	}
}
