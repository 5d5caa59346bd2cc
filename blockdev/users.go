package blockdev

// Users is one look at who uses the devices of this system. What concerns all devices, such as the descriptors of all
// processes, is read once, when it is first needed. It is safe for concurrent use.
type Users struct{ look }

// LookForUsers begins a look.
func LookForUsers() *Users { return &Users{newLook()} }

// InUse is [Users.Of], by a look of its own.
func (d *Device) InUse() []Holder { return LookForUsers().Of(d) }
