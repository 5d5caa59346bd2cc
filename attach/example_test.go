package attach_test

import (
	"fmt"
	"log"

	"lvm2fs/attach"
	"lvm2fs/ggate"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

// lv stands for an LV that package scan has found.
func lv() *lvm2.LV {
	vg := testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda"},
		LVs: []testpv.LV{{Name: "root", Segments: []string{testpv.Linear(0, 3, "pv0", 7)}}},
	}
	return lvm2.Open([]lvm2.Device{vg.Disks()[0]}, lvm2.Options{}).VGs[0].LV("root")
}

// Can whoever needs the LV go straight to the disk?
func ExampleContiguous() {
	if run, ok := attach.Contiguous(lv()); ok {
		fmt.Println(run.Length, "bytes at", run.Offset, "of", run.Device.Name())
	}
	// Output:
	// 12288 bytes at 94208 of sda
}

// Make a block device of an LV on FreeBSD, in this process.
func Example_server() {
	control, err := ggate.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer control.Close()
	volume, err := lv().OpenWritable()
	if err != nil {
		log.Fatal(err)
	}
	server, err := ggate.Serve(control, volume, ggate.Options{Info: "vg/root"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(server.Device())
	// Until somebody destroys it.
	if err := server.Wait(); err != nil {
		log.Fatal(err)
	}
}
