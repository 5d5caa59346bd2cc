package history

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// text is that of a VG with LVs of 10 extents each, one behind the other.
func text(seqno int, command string, lvs ...string) string {
	vg := testpv.VG{Name: "vg", Seqno: seqno, PVs: []string{"sda"}}
	for i, name := range lvs {
		if name != "" {
			vg.LVs = append(vg.LVs, testpv.LV{Name: name, Segments: []string{testpv.Linear(0, 10, "pv0", 10*i)}})
		}
	}
	s := strings.Replace(vg.Text(), `description = "test"`, fmt.Sprintf("description = %q", command), 1)
	return strings.Replace(s, "creation_time = 1", fmt.Sprintf("creation_time = %d", 1000*seqno), 1)
}

// diskWith has the last of texts as the current one, and the others behind it in the ring.
func diskWith(texts ...string) *testpv.Disk {
	d := testpv.New("sda", testpv.UUID("sda"), 1<<20, texts[len(texts)-1])
	at := 4096 + 512 + (len(texts[len(texts)-1])/512+1)*512
	for _, t := range texts[:len(texts)-1] {
		copy(d.Bytes[at:], t)
		at += (len(t)/512 + 1) * 512
	}
	return d
}

func only(t *testing.T, devices ...mapping.Device) (*Found, *VG) {
	t.Helper()
	found := Find(devices)
	if len(found.VGs) != 1 {
		t.Fatalf("%d VGs", len(found.VGs))
	}
	return found, found.VGs[0]
}

func seqnos(g *VG) (list string) {
	for _, t := range g.Texts {
		list += fmt.Sprint(t.Seqno)
		if t.Current {
			list += " current"
		}
		if errors.Is(t.Err, ErrCutOff) {
			list += " cut off"
		}
		list += ";"
	}
	return list
}

func TestTextsAreListedNewestFirstWithWhatCountsNowBeforeAll(t *testing.T) {
	_, g := only(t, diskWith(text(1, "vgcreate"), text(2, "lvcreate", "a", "b"), text(3, "lvremove", "a")))
	if got := seqnos(g); got != "3 current;2;1;" {
		t.Errorf("found %s", got)
	}
	changes, before := g.Texts[0].Changes()
	if before != g.Texts[1] || len(changes) != 1 || changes[0].String() != "LV b removed" {
		t.Errorf("changes %v against %v", changes, before)
	}
}

func TestTextsAreFoundWithoutTheLabelAndUnderADamagedHeader(t *testing.T) {
	for name, damage := range map[string]func(d *testpv.Disk){
		"label":  func(d *testpv.Disk) { clear(d.Bytes[:2048]) },
		"header": func(d *testpv.Disk) { d.Bytes[4100]++; d.Bytes[4096]++ },
	} {
		d := diskWith(text(1, "vgcreate"), text(2, "lvcreate", "a"))
		damage(d)
		_, g := only(t, d)
		if got := seqnos(g); got != "2;1;" {
			t.Errorf("%s: found %s", name, got)
		}
	}
}

func TestATextThatIsCutOffTellsItsSeqno(t *testing.T) {
	whole := text(7, "lvcreate", "a", "b", "c")
	_, g := only(t, diskWith(whole[:len(whole)/2], text(8, "lvremove", "a")))
	if got := seqnos(g); got != "8 current;7 cut off;" {
		t.Errorf("found %s", got)
	}
	if _, err := g.Seqno(7); !errors.Is(err, ErrNoText) || !errors.Is(err, ErrCutOff) {
		t.Errorf("seqno 7: %v", err)
	}
}

func TestATextIsChosenBySeqnoOrTime(t *testing.T) {
	_, g := only(t, diskWith(text(1, "vgcreate"), text(2, "lvcreate", "a"), text(2, "lvcreate", "b"), text(3, "lvremove")))
	if got, err := g.Seqno(1); err != nil || got.Seqno != 1 {
		t.Errorf("seqno 1: %v, %v", got, err)
	}
	if _, err := g.Seqno(2); err == nil || errors.Is(err, ErrNoText) {
		t.Errorf("of two: %v", err)
	}
	if got, err := g.SeqnoWith(2, "b"); err != nil || got.VG.LV("b") == nil {
		t.Errorf("with b: %v, %v", got, err)
	}
	if got, err := g.At(time.Unix(1500, 0)); err != nil || got.Seqno != 1 {
		t.Errorf("by the time: %v, %v", got, err)
	}
	if _, err := g.At(time.Unix(999, 0)); !errors.Is(err, ErrNoText) {
		t.Errorf("before all: %v", err)
	}
}

func TestWhatIsGoneIsTakenFromBeforeTheCommandThatRemovedIt(t *testing.T) {
	_, g := only(t, diskWith(
		text(1, "Write from lvcreate x.", "a", "b", "c"),
		text(2, "Write from lvremove vg/b vg/c.", "a", "", "c"),
		text(3, "Write[2] from lvremove vg/b vg/c.", "a"),
	))
	var got []string
	for _, gone := range g.Gone() {
		command, _ := gone.Next.Command()
		got = append(got, fmt.Sprintf("%s@%d by %s", gone.LV.Name, gone.Text.Seqno, command))
	}
	if want := "b@1 by lvremove vg/b vg/c,c@1 by lvremove vg/b vg/c"; strings.Join(got, ",") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestPlacesThatMayHaveBeenWrittenSinceAreTold(t *testing.T) {
	last := text(3, "lvcreate", "a", "new")
	for name, c := range map[string]struct {
		texts []string
		want  int64
	}{
		"given to another":            {[]string{text(1, "lvcreate", "a", "b"), text(2, "lvremove", "a"), last}, 10 * testpv.ExtentSize},
		"the last cannot be read":     {[]string{text(1, "lvcreate", "a", "b"), last[:len(last)/2], text(2, "lvremove", "a")}, 10 * testpv.ExtentSize},
		"free":                        {[]string{text(1, "lvcreate", "a", "b"), text(2, "lvremove", "a")}, 0},
		"a text between is not found": {[]string{text(1, "lvcreate", "a", "b"), text(3, "lvremove", "a")}, 10 * testpv.ExtentSize},
	} {
		found, g := only(t, diskWith(c.texts...))
		old, err := g.Seqno(1)
		if err != nil {
			t.Fatal(err)
		}
		n, of, by, age := found.View(old, nil).Overwritten(old.VG.LV("b"))
		if n != c.want || of != 10*testpv.ExtentSize || age != "" {
			t.Errorf("%s: %d of %d bytes by %v, %q", name, n, of, by, age)
		}
	}
}

func TestAdviceNamesTheFlagsThatHaveADeviceRead(t *testing.T) {
	uuid := metadata.UUID(testpv.UUID("sda"))
	d := diskWith(text(1, "vgcreate"), text(2, "lvcreate", "a"))
	clear(d.Bytes[:2048])
	found, _ := only(t, d)
	if got, want := strings.Join(found.Advice(d).Flags, " "), "--pv sda="+uuid.String(); got != want {
		t.Errorf("without the label: %s, want %s", got, want)
	}
	d = diskWith(text(1, "vgcreate"), text(2, "lvcreate", "a"))
	d.Bytes[4097]++
	found, _ = only(t, d)
	if got, want := strings.Join(found.Advice(d).Flags, " "), "--at vg=2"; got != want {
		t.Errorf("under a damaged header: %s, want %s", got, want)
	}
}

func TestAFileThatIsNoMetadataIsRefused(t *testing.T) {
	f := New()
	if _, err := f.AddFile("x", []byte("hello")); err == nil {
		t.Error("accepted")
	}
	if text, err := f.AddFile("y", bytes.Clone([]byte(text(1, "vgcfgbackup", "a")))); err != nil || text.VG.LV("a") == nil {
		t.Errorf("%v, %v", text, err)
	}
}
