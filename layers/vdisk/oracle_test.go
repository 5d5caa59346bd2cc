package vdisk

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

func TestImagesMadeByQEMUHoldWhatWasPutIn(t *testing.T) {
	testenv.Long(t)
	w := newWorkshop(t)
	want := disk(5<<20+512*3, 1)
	w.write("raw", want)
	for _, c := range []string{
		"qcow2",
		"qcow2 compat=0.10",
		"qcow2 cluster_size=512",
		"qcow2 cluster_size=2M",
		"qcow2 cluster_size=4k,refcount_bits=1",
		"qcow2 cluster_size=32k,refcount_bits=64,lazy_refcounts=on",
		"qcow2 preallocation=metadata",
		"qcow2 preallocation=full",
		"qcow2 extended_l2=on",
		"qcow2 extended_l2=on,cluster_size=16k",
		"qcow2 extended_l2=on,cluster_size=2M",
		"vmdk",
		"vmdk subformat=monolithicFlat",
		"vmdk subformat=twoGbMaxExtentSparse",
		"vmdk subformat=twoGbMaxExtentFlat",
		"vmdk subformat=streamOptimized",
		"vmdk zeroed_grain=on",
		"vmdk compat6=on",
		"vpc force_size=on",
		"vpc subformat=fixed,force_size=on",
		"vhdx",
		"vhdx subformat=fixed",
		"vhdx block_size=1M",
		"vhdx block_size=1M,block_state_zero=off",
		"vdi",
		"vdi static=on",
		"-c qcow2",
		"-c qcow2 cluster_size=512",
		"-c qcow2 cluster_size=2M",
		"-c qcow2 compression_type=zstd",
		"-c qcow2 compression_type=zstd,cluster_size=4k",
		"-c qcow2 compression_type=zstd,cluster_size=2M",
		"-c qcow2 extended_l2=on",
	} {
		t.Run(c, func(t *testing.T) {
			words := strings.Fields(c)
			compressed := words[0] == "-c"
			args := []string{"convert", "-f", "raw"}
			if compressed {
				args, words = append(args, "-c"), words[1:]
			}
			args = append(args, "-O", words[0])
			if len(words) > 1 {
				args = append(args, "-o", words[1])
			}
			w := workshop{t, w.dir}
			name := "image_" + strings.NewReplacer(" ", "_", "=", "_", ",", "_").Replace(c)
			w.img(append(args, "raw", name)...)
			m, err := w.tryOpen(name, Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(m.Name(), m.Size(), m.Info().Format, len(m.Info().Files))
			// VDI and VHDX have whole blocks or sectors; QEMU tells what it made of it.
			whole := w.truth(name, "-f", words[0])
			if !bytes.Equal(whole[:len(want)], want) {
				t.Fatal("QEMU itself made something else of it")
			}
			checkImage(t, m, whole)
			if got := has(t, m, mapping.Computed); got != compressed && !strings.Contains(c, "stream") {
				t.Error("computed:", got)
			}
		})
	}
}

func TestVHDWithoutForcedSizeHasTheSizeThatQEMUGivesIt(t *testing.T) {
	w := newWorkshop(t)
	w.write("raw", disk(5<<20, 2))
	w.img("convert", "-f", "raw", "-O", "vpc", "raw", "image")
	checkImage(t, w.open("image"), w.truth("image", "-f", "vpc"))
}

func TestImagesThatWereWrittenTo(t *testing.T) {
	testenv.Long(t)
	writes := []string{
		"write -P 1 0 512", "write -P 2 100k 300k", "write -z 150k 64k", "write -P 3 3M 1M", "write -z 3M 128k",
		"discard 3500k 200k", "write -P 4 4093k 3k", "write -P 5 1M 4k", "write -z 1028k 2k", "write -P 6 1030k 1k",
	}
	for _, c := range []string{
		"qcow2", "qcow2 compat=0.10", "qcow2 extended_l2=on", "qcow2 extended_l2=on,cluster_size=32k", "qcow2 cluster_size=1k",
		"qcow2 compat=1.1,lazy_refcounts=on", "qcow2 data_file=external", "qcow2 data_file=external2,data_file_raw=on",
		"vmdk", "vmdk zeroed_grain=on", "vmdk subformat=twoGbMaxExtentSparse", "vpc force_size=on", "vhdx block_size=1M", "vdi",
	} {
		t.Run(c, func(t *testing.T) {
			w := newWorkshop(t)
			format, options, _ := strings.Cut(c, " ")
			args := []string{"create", "-f", format}
			if options != "" {
				args = append(args, "-o", options)
			}
			w.img(append(args, "image", "5M")...)
			if strings.Contains(options, "external") {
				// qemu-io finds the data file by the image's directory only from there.
				t.Chdir(w.dir)
			}
			w.io("image", writes...)
			m := w.open("image")
			checkImage(t, m, w.truth("image"))
			if !has(t, m, mapping.Zero) && !strings.Contains(options, "raw") {
				t.Error("nothing is a hole")
			}
		})
	}
}

func TestOverlaysShowWhatLiesBeneath(t *testing.T) {
	testenv.Long(t)
	for _, c := range []struct {
		name, base, middle, top string
		middleSize, topSize     string
	}{
		{"qcow2 over raw", "raw", "", "qcow2", "", "3M"},
		{"longer than what is beneath", "raw", "", "qcow2", "", "5M"},
		{"shorter than what is beneath", "raw", "", "qcow2", "", "1M"},
		{"three deep, the middle short", "raw", "qcow2", "qcow2", "2M", "4M"},
		{"over compressed", "qcow2 -c", "", "qcow2", "", "3M"},
		{"subclusters", "qcow2", "qcow2 extended_l2=on,cluster_size=16k", "qcow2 extended_l2=on", "3M", "3M"},
		{"over VDI", "vdi", "", "qcow2 cluster_size=512", "", "3M"},
		{"VMDK over VMDK", "vmdk", "", "vmdk", "", "3M"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			w.write("raw", disk(3<<20, 4))
			format := func(s string) string { f, _, _ := strings.Cut(s, " "); return f }
			args := []string{"convert", "-f", "raw", "-O", format(c.base)}
			if strings.HasSuffix(c.base, "-c") {
				args = append(args, "-c")
			}
			w.img(append(args, "raw", "base")...)
			over := func(name, what, beneath, beneathWhat, size string) {
				_, options, _ := strings.Cut(what, " ")
				args := []string{"create", "-f", format(what), "-b", beneath, "-F", format(beneathWhat)}
				if options != "" {
					args = append(args, "-o", options)
				}
				w.img(append(args, name, size)...)
			}
			if c.middle == "" {
				over("top", c.top, "base", c.base, c.topSize)
			} else {
				over("middle", c.middle, "base", c.base, c.middleSize)
				w.io("middle", "write -P 7 500k 700k", "write -z 600k 20k", "write -P 8 1990k 2k")
				over("top", c.top, "middle", c.middle, c.topSize)
			}
			w.io("top", "write -P 9 10k 10k", "write -z 100k 100k", "write -P 10 700k 1k")
			m := w.open("top")
			checkImage(t, m, w.truth("top"))
			if n := len(m.Info().Files); n != 1 && c.middle == "" || n != 2 && c.middle != "" {
				t.Errorf("%d files", n)
			}
		})
	}
}

func TestSnapshotsInAnImage(t *testing.T) {
	testenv.Long(t)
	for _, options := range []string{"compat=0.10", "compat=1.1", "extended_l2=on,cluster_size=16k"} {
		t.Run(options, func(t *testing.T) {
			w := newWorkshop(t)
			w.img("create", "-f", "qcow2", "-o", options, "image", "3M")
			var want [][]byte
			for i, name := range []string{"monday", "tuesday", "1"} {
				w.io("image", "write -P 11 "+[]string{"0 1M", "500k 200k", "1M 512"}[i])
				w.img("snapshot", "-c", name, "image")
				want = append(want, w.truth("image"))
			}
			w.io("image", "write -P 12 0 3M")
			checkImage(t, w.open("image"), w.truth("image"))
			for name, i := range map[string]int{"monday": 0, "tuesday": 1, "2": 1, "3": 2} {
				m, err := w.tryOpen("image", Options{Snapshot: name})
				if err != nil {
					t.Fatal(err)
				}
				checkImage(t, m, want[i])
			}
			// A name counts for more than an id.
			m, err := w.tryOpen("image", Options{Snapshot: "1"})
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, m, want[2])
			if _, err := w.tryOpen("image", Options{Snapshot: "friday"}); !errors.Is(err, ErrNoSnapshot) {
				t.Error(err)
			}
			w.img("snapshot", "-c", "monday", "image")
			if _, err := w.tryOpen("image", Options{Snapshot: "monday"}); !errors.Is(err, ErrNoSnapshot) {
				t.Error(err)
			}
		})
	}
}

func TestASnapshotOfAnImageThatWasMadeLargerHasItsOwnSize(t *testing.T) {
	w := newWorkshop(t)
	w.img("create", "-f", "qcow2", "image", "1M")
	w.io("image", "write -P 1 0 1M")
	w.img("snapshot", "-c", "small", "image")
	want := w.truth("image")
	w.img("resize", "image", "2M")
	m, err := w.tryOpen("image", Options{Snapshot: "small"})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, m, want)
}

func TestImagesWithMoreThanOneTable(t *testing.T) {
	testenv.Long(t)
	w := newWorkshop(t)
	for _, c := range []string{"qcow2 cluster_size=512", "qcow2 extended_l2=on,cluster_size=16k", "vmdk", "vmdk subformat=twoGbMaxExtentSparse", "vpc force_size=on", "vhdx", "vdi"} {
		format, options, _ := strings.Cut(c, " ")
		args := []string{"create", "-f", format}
		if options != "" {
			args = append(args, "-o", options)
		}
		w.img(append(args, "image", "9G")...)
		places := []string{"0", "100M", "2047M", "2048M", "4096M", "8191M", "9215M"}
		for i, at := range places {
			w.io("image", "write -P "+string(rune('1'+i))+" "+at+" 600k")
		}
		m := w.open("image")
		for i, at := range []int64{0, 100, 2047, 2048, 4096, 8191, 9215} {
			p := make([]byte, 600<<10)
			if n, err := m.ReadAt(p, at<<20); n != len(p) || err != nil || !bytes.Equal(p, bytes.Repeat([]byte{byte(1 + i)}, len(p))) {
				t.Errorf("%s: at %d MiB: read %d, %v, %v", c, at, n, err, p[:4])
			}
		}
		run(t, "sh", "-c", "rm -f "+w.dir+"/image*")
	}
}

func TestWhatQEMUMakesAndIsNotReadIsRefusedWithTheReason(t *testing.T) {
	w := newWorkshop(t)
	w.write("secret", []byte("banana"))
	w.img("create", "-f", "qcow2", "--object", "secret,id=s,file=secret", "-o", "encrypt.format=aes,encrypt.key-secret=s", "encrypted", "1M")
	w.img("create", "-f", "qcow", "one", "1M")
	w.img("create", "-f", "qed", "qed", "1M")
	for name, want := range map[string]string{"encrypted": "it is encrypted", "one": "version 1", "qed": "no virtual disk image", "secret": "no virtual disk image"} {
		_, err := w.tryOpen(name, Options{})
		if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNotImage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One extent of several, without the descriptor.
	w.img("create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "split.vmdk", "3G")
	if _, err := w.tryOpen("split-s001.vmdk", Options{}); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "descriptor") {
		t.Error(err)
	}
	// A VMDK whose base changed after it was laid over it.
	w.img("create", "-f", "vmdk", "base.vmdk", "1M")
	w.img("create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
	w.io("base.vmdk", "write -P 1 0 512")
	if _, err := w.tryOpen("top.vmdk", Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "was changed") {
		t.Error(err)
	}
	// A stream that was cut short.
	w.write("raw", disk(1<<20, 5))
	w.img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "raw", "stream.vmdk")
	b, err := os.ReadFile(w.path("stream.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	if string(b[56:64]) == strings.Repeat("\xff", 8) {
		w.write("short.vmdk", b[:len(b)-1024])
		if _, err := w.tryOpen("short.vmdk", Options{}); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	}
}
