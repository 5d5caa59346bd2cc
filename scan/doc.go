// Package scan finds the volume groups on disks and image files, whatever lies between: partitions,
// MD arrays, LUKS containers, virtual disk images, LVs with PVs in them.
//
//	session, err := scan.Open(ctx, []string{"disk.qcow2"}, scan.Options{})
//	...
//	defer session.Close()
//	for _, vg := range session.Result().VGs {
//		for _, lv := range vg.LVs {
//			volume, err := lv.Open() // an io.ReaderAt with a size
//			...
//
// A [Session] holds open what was found: files, disks, containers. A [Result] is what was there at
// one time, and does not change. [Session.Reload] looks again, and gives another Result; LVs of the former one can
// still be read, for the devices stay open until [Session.Close].
//
// What is not as it should be never stops a scan that can go on. It is in Result.Problems, each with
// a [Reason]: a path that cannot be opened, a container without a passphrase, two devices with one PV, a disk that the
// system has mounted.
//
// A session writes nothing by itself, and prints nothing. Only who opens an LV for writing has its devices opened for it.
//
// For bare PVs in anything that is an io.ReaderAt, package lvm2 alone is enough.
package scan
