package cli

// hostFUSE is what the system tells of its FUSE.
type hostFUSE struct {
	os         string // runtime.GOOS
	root       bool   // who mounts
	device     bool   // there is a /dev/fuse
	usersMount bool   // FreeBSD: vfs.usermount lets ordinary users mount
}

// mountHint is what to do about a mount that failed, for what the system's own message does not tell; "" if nothing is
// known.
func mountHint(host hostFUSE) string {
	switch {
	case host.os == "freebsd" && !host.device:
		return "FUSE is not loaded: kldload fusefs, and at every boot with kld_list=\"fusefs\" in /etc/rc.conf"
	case host.os == "freebsd" && !host.root && !host.usersMount:
		return "only root may mount: sysctl vfs.usermount=1 lets users mount on directories of their own"
	case host.os == "darwin" && !host.device:
		return "mounting needs macFUSE; list, map, check and dump do not"
	}
	return ""
}
