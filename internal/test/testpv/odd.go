package testpv

import (
	"fmt"
	"strings"
)

// OddText is a metadata text of a VG over the PVs sda and sdb, valid but for one thing.
type OddText struct {
	Name string
	Text string
	// LVM is what lvm2 2.03.16 makes of it: Refused, or each LV with its number of extents, by name.
	LVM string
	// Ours is what we make of it, where that differs from LVM. An LV that is shown but cannot be opened has a "!"
	// behind its name.
	Ours string
	// Said is in a warning; "" for none at all.
	Said string
}

// Refused is for a text that gives no VG.
const Refused = "refused"

// oddBase is the text without anything odd: alpha on pv0, beta striped over both PVs and then on pv1.
func oddBase() string {
	return VG{
		Name: "vg", Seqno: 3, PVs: []string{"sda", "sdb"}, PVExtents: 1000,
		LVs: []LV{
			{Name: "alpha", Extra: "creation_time = 1265400912\ncreation_host = \"h\"", Segments: []string{Linear(0, 3, "pv0", 0)}},
			{Name: "beta", Segments: []string{Striped(0, 4, 8, "pv0", 10, "pv1", 10), Linear(4, 1, "pv1", 12)}},
		},
	}.Text()
}

// OddDisks are the disks of an odd text.
func OddDisks(text string) []*Disk {
	var disks []*Disk
	for _, name := range []string{"sda", "sdb"} {
		disks = append(disks, New(name, UUID(name), DataStart+1000*ExtentSize, text))
	}
	return disks
}

// OddTexts are what was tried against lvm2. Keys and sections occur twice, are missing, are misspelt or have another
// type; names are keys; UUIDs are not unique.
func OddTexts() []OddText {
	const (
		both      = "alpha 3 beta 5"
		alphaBad  = "alpha! beta 5"
		betaBad   = "alpha 3 beta!"
		allBad    = "alpha! beta!"
		twice     = "occurs twice"
		notOurs   = "unknown here"
		isValue   = "is a value, not a section"
		alphaID   = `id = "lvvgalpha00000000000000000000000"`
		betaID    = `id = "lvvgbeta000000000000000000000000"`
		sdaID     = `id = "sda00000000000000000000000000000"`
		sdbID     = `id = "sdb00000000000000000000000000000"`
		vgID      = `id = "vgvg0000000000000000000000000000"`
		lvStatus  = `status = ["READ", "WRITE", "VISIBLE"]`
		oldLV     = "historical_logical_volumes {\nold {\nid = \"lvold000000000000000000000000000\"\n}\n}\nlogical_volumes {"
		lvs       = "logical_volumes {"
		alpha     = "alpha {"
		seqno     = "seqno = 3"
		contents  = "contents ="
		gammaText = "gamma {\nid = \"gamma000000000000000000000000000\"\nstatus = [\"VISIBLE\"]\nsegment_count = 1\nsegment1 {\nstart_extent = 0\nextent_count = 2\ntype = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 50]\n}\n}\n"
	)
	base := oddBase()
	var texts []OddText
	// odd adds a text in which the first old is replaced.
	odd := func(name, old, new, lvm, ours, said string) {
		if !strings.Contains(base, old) {
			panic(fmt.Sprintf("testpv: %s: no %q in the text", name, old))
		}
		if ours == "" {
			ours = lvm
		}
		texts = append(texts, OddText{name, strings.Replace(base, old, new, 1), lvm, ours, said})
	}
	// second is odd for the second old.
	second := func(name, old, new, lvm, ours, said string) {
		at := strings.Index(base, old) + len(old)
		if ours == "" {
			ours = lvm
		}
		texts = append(texts, OddText{name, base[:at] + strings.Replace(base[at:], old, new, 1), lvm, ours, said})
	}
	odd("nothing odd", seqno, seqno, both, "", "")

	// Keys and sections that occur twice: the first counts.
	odd("seqno twice", seqno, "seqno = 3\nseqno = 9", both, "", twice)
	odd("the VG's UUID twice", vgID, vgID+"\nid = \"other\"", both, "", twice)
	odd("status of the VG twice", "flags = []", "status = [\"READ\"]\nflags = []", both, "", twice)
	odd("logical_volumes twice", lvs, lvs+"\n"+gammaText+"}\n"+lvs, "gamma 2", "", twice)
	odd("physical_volumes twice", lvs, "physical_volumes {\n}\n"+lvs, both, "", twice)
	odd("physical_volumes twice, the first empty", "physical_volumes {", "physical_volumes {\n}\nphysical_volumes {", Refused, allBad, twice)
	odd("extent_count twice", "extent_count = 3", "extent_count = 3\nextent_count = 7", both, "", twice)
	odd("a PV's pe_start twice", "pe_start = 128", "pe_start = 128\npe_start = 0", both, "", twice)
	odd("status of an LV twice", lvStatus, lvStatus+"\nstatus = []", both, "", twice)
	odd("description twice", "description =", "description = \"first\"\ndescription =", both, "", twice)
	odd("two segments of one name", "segment2 {", "segment1 {", both, "", "")
	odd("a second VG behind the first", contents, "other {\nid = 1\n}\n"+contents, both, "", "second section")
	odd("the VG twice", contents, "vg {\nid = 1\n}\n"+contents, both, "", "second section")
	odd("another section in front of the VG", "vg {", "other {\nid = 1\n}\nvg {", Refused, "", "invalid metadata")
	odd("two LVs of one name", "beta {", alpha, Refused, "alpha! alpha!", "second LV of this name")
	odd("two PVs of one name", "pv1 {", "pv0 {", Refused, allBad, "second PV of this name")

	// Names that are keys elsewhere.
	for _, name := range []string{"description", "creation_host", "creation_time", "id", "seqno", "physical_volumes", "logical_volumes"} {
		odd("a VG called "+name, "vg {", name+" {", both, "", "")
	}
	for _, name := range []string{"contents", "version"} { // vgcreate makes it, and then lvm2 cannot read it
		odd("a VG called "+name, "vg {", name+" {", Refused, both, "")
	}
	for _, name := range []string{"segment1", "id", "pv0", "physical_volumes", "vg"} {
		odd("an LV called "+name, alpha, name+" {", "beta 5 "+name+" 3", "", "")
	}

	// UUIDs.
	odd("two LVs with one UUID", betaID, alphaID, both, allBad, "the same UUID")
	odd("an LV with the UUID of a PV", alphaID, sdaID, both, "", "")
	odd("an LV with the UUID of the VG", alphaID, vgID, both, "", "")
	odd("a VG with the UUID of a PV", vgID, sdaID, both, "", "")
	odd("two PVs with one UUID", sdbID, sdaID, both, allBad, "the same UUID")
	for _, key := range []struct{ name, new, said string }{
		{"without", "", "not in the section"},
		{"short", "id = \"x\"", "1 characters"},
		{"a number", "id = 5", "an integer"},
		{"with a bad character", "id = \"?vvgalpha00000000000000000000000\"", "contains"},
	} {
		odd("the UUID of an LV "+key.name, alphaID, key.new, Refused, alphaBad, key.said)
		odd("the UUID of a PV "+key.name, sdbID, key.new, Refused, betaBad, key.said)
		odd("the UUID of the VG "+key.name, vgID, key.new, Refused, "", key.said)
	}
	odd("the UUID of an LV in a list", alphaID, `id = ["lvvgalpha00000000000000000000000", "x"]`, both, "", "")

	// Sections that are misspelt or values.
	odd("logical_volumes misspelt", lvs, "logical_volume {", "", "", notOurs)
	odd("logical_volumes in capitals", lvs, "Logical_volumes {", "", "", notOurs)
	odd("logical_volumes a number", lvs, "logical_volumes = 5\nother {", "", "", isValue)
	odd("logical_volumes a string", lvs, "logical_volumes = \"x\"\nother {", "", "", isValue)
	odd("logical_volumes an empty list", lvs, "logical_volumes = []\nother {", "", "", isValue)
	odd("a value among the LVs", lvs, lvs+"\ngamma = 5", Refused, both, isValue)
	odd("a value among the PVs", "physical_volumes {", "physical_volumes {\npv2 = 5", Refused, both, isValue)
	odd("physical_volumes misspelt", "physical_volumes {", "physical_volume {", Refused, "", "no section physical_volumes")
	odd("physical_volumes a number", "physical_volumes {", "physical_volumes = 5\nother {", Refused, "", "no section physical_volumes")
	odd("an unknown section in the VG", lvs, "future {\nx {\n}\n}\n"+lvs, both, "", notOurs)
	odd("an unknown section in a segment", "extent_count = 3", "extent_count = 3\nfuture {\n}", both, "", notOurs)
	odd("an unknown key in the VG", seqno, seqno+"\nfuture = 5", both, "", "")
	odd("an unknown key in a segment", "extent_count = 3", "extent_count = 3\nfuture = 5", both, "", "")
	odd("a section in an LV that is no segment", "segment_count = 1", "segment_count = 1\ntags {\n}", Refused, alphaBad, "want a list of strings")
	odd("stripes a section", "stripes = [\"pv0\", 0]", "stripes {\n}", Refused, alphaBad, "not a list")
	odd("historical LVs", lvs, oldLV, both, "", "")
	odd("historical LVs a number", lvs, "historical_logical_volumes = 5\n"+lvs, both, "", isValue)
	odd("a historical LV without a UUID", lvs, "historical_logical_volumes {\nold {\n}\n}\n"+lvs, Refused, both, "not in the section")

	// Keys that are missing or of another type.
	odd("an LV without status", lvStatus, "", Refused, alphaBad, "no status")
	odd("status of an LV a number", lvStatus, "status = 5", Refused, alphaBad, "want a string")
	odd("status of an LV empty", lvStatus, "status = []", both, "", "")
	odd("a PV without status", `status = ["ALLOCATABLE"]`, "", Refused, allBad, "no status")
	odd("a VG without status", `status = ["RESIZEABLE", "READ", "WRITE"]`, "", Refused, both, "no status")
	odd("status of the VG a number", `status = ["RESIZEABLE", "READ", "WRITE"]`, "status = 5", Refused, "", "want a string")
	second("a PV without pe_start", "pe_start = 128", "", Refused, betaBad, "not in the section")
	second("a PV without pe_count", "pe_count = 1000", "", Refused, betaBad, "not in the section")
	second("pe_count of a PV a string", "pe_count = 1000", "pe_count = \"1000\"", Refused, betaBad, "want an integer")
	second("a PV without dev_size", "dev_size = 8128", "", both, "", "")
	odd("extent_size 0", "extent_size = 8", "extent_size = 0", "alpha 0 beta 0", Refused, "extent_size = 0")
	odd("without extent_size", "extent_size = 8", "", Refused, "", "not in the section")
	odd("seqno a string", seqno, "seqno = \"3\"", Refused, "", "want an integer")
	odd("seqno in a list", seqno, "seqno = [3, 4]", both, "", "")
	odd("max_lv a string", "max_lv = 0", "max_lv = \"x\"", Refused, both, "want an integer")
	odd("without max_lv", "max_lv = 0\n", "", Refused, both, "")
	odd("format a number", `format = "lvm2"`, "format = 2", both, "", "want a string")
	odd("system_id a number", seqno, seqno+"\nsystem_id = 5", both, "", "want a string")
	odd("lock_type a number", seqno, seqno+"\nlock_type = 5", both, "", "want a string")
	odd("tags of the VG a number", seqno, seqno+"\ntags = 5", Refused, both, "want a string")
	odd("tags of an LV with a number", "creation_host = \"h\"", "creation_host = \"h\"\ntags = [\"a\", 5]", Refused, both, "want a string")
	odd("read_ahead a string", "creation_host = \"h\"", "creation_host = \"h\"\nread_ahead = \"x\"", both, "", "want an integer")
	odd("description a number", `description = "test"`, "description = 5", both, "", "want a string")
	odd("contents something else", "Text Format Volume Group", "Text", Refused, "", "contents")
	odd("version 2", "version = 1", "version = 2", Refused, "", "version")
	odd("without version", "version = 1", "", Refused, "", "not in the section")

	// Segments.
	odd("a type that is unknown", `type = "striped"`, `type = "nonsense"`, both, alphaBad, "")
	odd("without a type", `type = "striped"`, "", Refused, alphaBad, "not in the section")
	odd("segment_count 2 of 1", "segment_count = 1", "segment_count = 2", Refused, alphaBad, "1 segments, segment_count = 2")
	odd("segment_count missing", "segment_count = 1", "", Refused, alphaBad, "not in the section")
	odd("stripe_count missing", "stripe_count = 1", "", Refused, alphaBad, "not in the section")
	odd("a stripe on a PV that is not there", `stripes = ["pv0", 0]`, `stripes = ["pv7", 0]`, Refused, alphaBad, `no PV or LV "pv7"`)
	odd("a stripe beyond the PV", `stripes = ["pv0", 0]`, `stripes = ["pv0", 999]`, Refused, alphaBad, "which has 1000")
	odd("stripes that overlap", `stripes = ["pv0", 0]`, `stripes = ["pv0", 8]`, Refused, allBad, "both use extent")
	odd("a segment that starts late", "start_extent = 0", "start_extent = 1", Refused, alphaBad, "starts at extent 1")
	odd("an LV on itself", `stripes = ["pv0", 0]`, `stripes = ["alpha", 0]`, Refused, alphaBad, "on itself")
	odd("an unknown status of an LV", lvStatus, `status = ["READ", "VISIBLE", "FUTURE"]`, Refused, alphaBad, "")
	return texts
}
