package lvm2_test

import (
	"fmt"
	"io"
	"log"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// disks stands for what a program would open: files, disks, parts of a network store.
func disks() []lvm2.Device {
	vg := testpv.VG{
		Name: "vg", Seqno: 3, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{
			{Name: "root", Segments: []string{testpv.Linear(0, 2, "pv0", 0)}},
			{Name: "home", Segments: []string{testpv.Linear(0, 3, "pv1", 4), testpv.Linear(3, 1, "pv0", 9)}},
		},
	}
	var devices []lvm2.Device
	for _, d := range vg.Disks() {
		devices = append(devices, d)
	}
	return devices
}

// List the LVs of all VGs on some devices.
func ExampleOpen() {
	scan := lvm2.Open(disks(), lvm2.Options{})
	for _, r := range scan.Rejected {
		log.Print(r.Err)
	}
	for _, vg := range scan.VGs {
		for _, lv := range vg.LVs {
			fmt.Println(vg.DirName()+"/"+lv.FileName(), lv.Size(), "bytes")
		}
	}
	// Output:
	// vg/root 8192 bytes
	// vg/home 16384 bytes
}

// Read an LV from its start to its end.
func ExampleLV_Open() {
	scan := lvm2.Open(disks(), lvm2.Options{})
	v, err := scan.VGs[0].LV("home").Open()
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	n, err := io.Copy(io.Discard, io.NewSectionReader(v, 0, v.Size()))
	fmt.Println(n, err)
	// Output:
	// 16384 <nil>
}

// Ask where the bytes of an LV are.
func ExampleVolume_Map() {
	scan := lvm2.Open(disks(), lvm2.Options{})
	v, err := scan.VGs[0].LV("home").Open()
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	err = mapping.Walk(v, 0, v.Size(), func(off int64, e mapping.Extent) error {
		fmt.Println(off, e.Length, e.Kind, e.Device.Name(), e.Offset)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 0 12288 data sdb 81920
	// 12288 4096 data sda 102400
}
