package testimages

// notRead are the cases with LVs that are not all read as the kernel read them, and why. Such an LV may be refused,
// but is never wrong.
var notRead = map[string]string{
	"md-raid5-growold": "a reshape of an array with superblocks 0.90 keeps part of it in a backup file, of which nothing on the disks tells",
	"missing-returned": "PVs that lvm2 has flagged as MISSING are back, and are read only by who says that they are whole",
}

// Supported says whether every LV of the case must be read as the kernel read it.
func (c *Case) Supported() bool { return notRead[c.Name] == "" }

// Flags are what lvm2fs has to be told to find all LVs of the case.
func (c *Case) Flags() []string {
	if c.Name == "nested" {
		return []string{"--nested"}
	}
	return nil
}
