package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parseOn(t *testing.T, goos string, args ...string) (mountOptions, error) {
	t.Helper()
	return parseMountOptions(args, flagsOfMount(t), systemOptionsOf(goos), false)
}

func TestEachSystemIsHandedWhatItsMountProgramKnows(t *testing.T) {
	everything := strings.Join(forEverySystem, ",") + ",late,auto,noauto,failok"
	for _, c := range []struct {
		goos, options string
		want          []string
	}{
		{"linux", everything, []string{"nodev", "nosuid", "noexec", "noatime", "sync", "dirsync"}},
		{"freebsd", everything, []string{"nosuid", "noexec", "noatime"}},
		{"darwin", everything, []string{"nodev", "nosuid", "noexec", "noatime"}},
		{"freebsd", "rw,automounted,noclusterr,union,nosymfollow,noasync,force,noacls", []string{"automounted", "noclusterr", "union"}},
		{"darwin", "nobrowse,volname=my disk,automounted", []string{"nobrowse", "volname=my disk", "automounted"}},
		{"freebsd", "nosuid,noatime,union,suid,atime,nounion", []string{}},
		{"linux", "nodev,noexec,dev,exec,nosuid", []string{"nosuid"}},
	} {
		got, err := parseOn(t, c.goos, c.options)
		if diff := cmp.Diff(c.want, got.kernel); diff != "" || err != nil {
			t.Errorf("%s: -o %s: %v %s", c.goos, c.options, err, diff)
		}
	}
}

func TestSyncIsDoneHereOnEverySystem(t *testing.T) {
	for _, goos := range []string{"linux", "freebsd", "darwin"} {
		for options, want := range map[string]bool{"sync": true, "sync,async": false, "async,sync": true, "sync,noatime": true, "dirsync": false, "": false} {
			if got, err := parseOn(t, goos, options); err != nil || got.sync != want {
				t.Errorf("%s: -o %s: %v, sync %t", goos, options, err, got.sync)
			}
		}
	}
}

func TestWhatASystemKnowsAndLVsCannotDoIsRefusedWithTheReason(t *testing.T) {
	for option, want := range map[string]string{"acls": "ACLs", "multilabel": "labels", "userquota": "quotas", "suiddir": "no file is made"} {
		_, err := parseOn(t, "freebsd", "ro,"+option)
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "-o "+option+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("-o %s: %v", option, err)
		}
	}
	for goos, options := range map[string][]string{
		"freebsd": {"frobnicate", "volname=x", "nobrowse", "nodev=1", "automounted=1"},
		"linux":   {"union", "automounted", "nobrowse", "noclusterr"},
		"darwin":  {"volname", "volname=", "noclusterr"},
	} {
		for _, option := range options {
			if _, err := parseOn(t, goos, option); !errors.Is(err, errUnknownOption) {
				t.Errorf("%s: -o %s: %v", goos, option, err)
			}
		}
	}
}

func TestOfRdonlyAndRwTheLastCounts(t *testing.T) {
	for options, want := range map[string]bool{"rdonly": true, "rw,rdonly": true, "rdonly,rw": false} {
		if got, err := parseOn(t, "freebsd", options); err != nil || got.readOnly != want {
			t.Errorf("-o %s: %v, read-only %t", options, err, got.readOnly)
		}
	}
}
