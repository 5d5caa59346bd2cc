package attach

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Way says how a block device gets its bytes.
type Way string

const (
	// Direct is the kernel's own way: straight from the file or disk that the LV lies on, without a process.
	Direct Way = "direct"
	// Mounted leads through a file of a mount of ours, to a process in the background.
	Mounted Way = "mount"
	// Served is a process in the background that answers the kernel's requests.
	Served Way = "server"
	// Claim is no LV. It is what is left of a Direct one that was detached before others that share its claim of
	// a device. It keeps the claim, and goes with the last of them.
	Claim Way = "claim"
)

// Entry is an LV that is attached.
type Entry struct {
	LV     string `json:"lv"`      // VG/LV, as the link is called
	VGUUID string `json:"vg_uuid"` //
	LVUUID string `json:"lv_uuid"` //
	Device string `json:"device"`  // "/dev/loop3"
	Way    Way    `json:"way"`

	Size       int64  `json:"size"`       // bytes
	BlockSize  int    `json:"block_size"` // bytes
	ReadOnly   bool   `json:"read_only"`  //
	Partitions bool   `json:"partitions"` // were asked for
	DirectIO   bool   `json:"direct_io"`  // goes past the page cache
	Pending    bool   `json:"pending"`    // it was being attached when this was written
	Lost       bool   `json:"lost"`       // the LV is gone from the metadata, or lies elsewhere
	Backing    string `json:"backing"`    // what the kernel calls that, or the file
	On         ID     `json:"on"`         // of Direct: what it lies on
	Offset     int64  `json:"offset"`     // of Direct: bytes from the start of that
	HasClaim   bool   `json:"has_claim"`  // the device itself keeps the claim of what it lies on
	Claims     []ID   `json:"claims"`     // what it lies on, if it can be written
	Process    *PID   `json:"process"`    // in the background; null for none
	Mountpoint string `json:"mountpoint"` // of Mounted where mounts cannot be private

	Since   time.Time `json:"since"`
	By      string    `json:"by"`        // who attached it
	Command []string  `json:"command"`   // the command line that did, to find the LV again
	Dir     string    `json:"directory"` // in which it was given
	Options string    `json:"options"`   // its flags about devices, to tell whether others mean the same
}

// Mark tells the block device of an LV from others'.
func (e *Entry) Mark() string { return "lvm2fs:" + e.LVUUID }

// ID tells files and disks from each other, by whatever paths: "8:17" is a disk, "8:1/131" a file.
type ID string

// IDOf is that of an open file or disk.
func IDOf(info fs.FileInfo) ID {
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode()&fs.ModeDevice != 0 {
		return ID(fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))))
	}
	return ID(fmt.Sprintf("%d:%d/%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)), st.Ino))
}

// PID is a process, told from a later one with its number by when it was started.
type PID struct {
	Number  int    `json:"pid"`
	Started string `json:"started"`
}

// State is the list of what is attached. It is read once; who wants to change it holds the lock of the directory, see
// Lock. It is for one goroutine.
//
//	DIR/VG/LV                 -> the block device
//	DIR/@attached/state.json  the list, replaced as a whole
//	DIR/@attached/lock        held to change it
//
// No VG has the name @attached: lvm2 allows no @ in one.
type State struct {
	dir     string
	lock    *os.File // nil: not to be changed
	Entries []*Entry
}

// OwnDir is the directory of the list, beside those of VGs.
const OwnDir = "@attached"

// Read reads the list of a directory. There need be none.
func Read(dir string) (*State, error) {
	s := &State{dir: dir}
	text, err := os.ReadFile(s.path("state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &s.Entries); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path("state.json"), err)
	}
	return s, nil
}

// Lock is Read for who wants to change the list, and waits until no other does.
func Lock(dir string) (*State, error) {
	own := filepath.Join(dir, OwnDir)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(own, "lock"), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", lock.Name(), err)
	}
	s, err := Read(dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// Close ends the right to change the list.
func (s *State) Close() {
	if s.lock != nil {
		s.lock.Close()
	}
}

func (s *State) path(name string) string { return filepath.Join(s.dir, OwnDir, name) }

// Save replaces the list on disk, and the links. Whoever reads meanwhile, or after a crash, finds the old list or the new.
func (s *State) Save() error {
	if s.lock == nil {
		return errors.New("the list of what is attached is not locked")
	}
	if s.Entries == nil {
		s.Entries = []*Entry{}
	}
	text, err := json.MarshalIndent(s.Entries, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(s.path("state.json"), append(text, '\n')); err != nil {
		return err
	}
	return s.link()
}

func replaceFile(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Link is the stable name of an entry's device.
func (s *State) Link(e *Entry) string { return filepath.Join(s.dir, e.LV) }

// link makes the links those of the list.
func (s *State) link() error {
	wanted := map[string]string{}
	for _, e := range s.Entries {
		if !e.Pending && e.Way != Claim {
			wanted[s.Link(e)] = e.Device
		}
	}
	var errs []error
	dirs, _ := os.ReadDir(s.dir)
	for _, d := range dirs {
		if !d.IsDir() || d.Name() == OwnDir {
			continue
		}
		vg := filepath.Join(s.dir, d.Name())
		links, _ := os.ReadDir(vg)
		for _, l := range links {
			path := filepath.Join(vg, l.Name())
			if target, err := os.Readlink(path); err == nil && wanted[path] != target {
				errs = append(errs, os.Remove(path))
			}
		}
		_ = os.Remove(vg) // if it is empty
	}
	for path, device := range wanted {
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(device, path))
	}
	return errors.Join(errs...)
}

// Add adds an entry that is being attached. Where another VG's LV has its name already, it gets the
// name VG@XXXXXX/LV.
func (s *State) Add(e *Entry) {
	if s.named(e.LV) != nil {
		vg, lv, _ := strings.Cut(e.LV, "/")
		vg, _, _ = strings.Cut(vg, "@")
		e.LV = vg + "@" + e.VGUUID[:min(6, len(e.VGUUID))] + "/" + lv
	}
	s.Entries = append(s.Entries, e)
}

// Remove takes an entry off the list.
func (s *State) Remove(e *Entry) {
	s.Entries = slices.DeleteFunc(s.Entries, func(o *Entry) bool { return o == e })
}

func (s *State) find(is func(*Entry) bool) *Entry {
	if i := slices.IndexFunc(s.Entries, is); i >= 0 {
		return s.Entries[i]
	}
	return nil
}

func (s *State) named(lv string) *Entry {
	return s.find(func(e *Entry) bool { return e.Way != Claim && e.LV == lv })
}

// OfLV is the entry of an LV, by the UUIDs; nil if there is none.
func (s *State) OfLV(vg, lv string) *Entry {
	return s.find(func(e *Entry) bool { return e.Way != Claim && e.VGUUID == vg && e.LVUUID == lv })
}

// Find is the entry that a user calls VG/LV, by the name of its block device or by its link; nil if there is none.
func (s *State) Find(name string) *Entry {
	if e := s.named(strings.TrimPrefix(name, "/dev/")); e != nil {
		return e
	}
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		path = name
	}
	return s.find(func(e *Entry) bool { return e.Way != Claim && (e.Device == path || e.Device == "/dev/"+name) })
}

// ClaimHolder is an entry whose device keeps the claim of what has this ID; nil if there is none. alive says whether the device
// of an entry is still that of the entry.
func (s *State) ClaimHolder(id ID, alive func(*Entry) bool) *Entry {
	return s.find(func(e *Entry) bool { return e.HasClaim && slices.Contains(e.Claims, id) && alive(e) })
}

// NeedsClaim says whether an entry that is to go has a claim that others need, because they have none themselves.
func (s *State) NeedsClaim(e *Entry) bool {
	if !e.HasClaim {
		return false
	}
	shares := func(o *Entry) bool {
		return o != e && slices.ContainsFunc(o.Claims, func(id ID) bool { return slices.Contains(e.Claims, id) })
	}
	keeps := func(o *Entry) bool { return shares(o) && o.HasClaim }
	needs := func(o *Entry) bool { return shares(o) && !o.HasClaim }
	return slices.ContainsFunc(s.Entries, needs) && !slices.ContainsFunc(s.Entries, keeps)
}

// IdleClaims are the entries of way Claim that nobody needs any more.
func (s *State) IdleClaims() []*Entry {
	var idle []*Entry
	for _, e := range s.Entries {
		if e.Way == Claim && !s.NeedsClaim(e) {
			idle = append(idle, e)
		}
	}
	return idle
}

// Served are the entries with the same process.
func (s *State) Served(p *PID) []*Entry {
	var found []*Entry
	for _, e := range s.Entries {
		if p != nil && e.Process != nil && *e.Process == *p {
			found = append(found, e)
		}
	}
	return found
}
