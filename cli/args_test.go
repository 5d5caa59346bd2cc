package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlagsMayStandAnywhere(t *testing.T) {
	parser, err := newParser(new(CLI), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want string }{
		{"a.img /mnt", "mount -- a.img /mnt"},
		{"-r a.img /mnt", "mount -r -- a.img /mnt"},
		{"a.img -o ro /mnt", "mount -o ro -- a.img /mnt"},
		{"a.img /mnt -o ro -r", "mount -o ro -r -- a.img /mnt"},
		{"-o ro a.img /mnt -oallow_other", "mount -o ro -oallow_other -- a.img /mnt"},
		{"-ro ro a.img /mnt", "mount -ro ro -- a.img /mnt"},
		{"--options ro a.img /mnt", "mount --options ro -- a.img /mnt"},
		{"--options=ro a.img /mnt", "mount --options=ro -- a.img /mnt"},
		{"mount a.img /mnt", "mount -- a.img /mnt"},
		{"-r mount a.img /mnt", "mount -r -- a.img /mnt"},
		{"a.img mount", "mount -- a.img mount"},
		{"a.img -- -r", "mount -- a.img -r"},
		{"-- -r /mnt", "mount -- -r /mnt"},
		{"- /mnt", "mount -- - /mnt"},
		{"-f", "mount -f --"},

		{"list a.img --json b.img", "list --json -- a.img b.img"},
		{"--json list a.img", "list --json -- a.img"},
		{"unmount /mnt", "unmount -- /mnt"},
		{"help dump", "help -- dump"},
		{"-V", "-V"},
		{"./list /mnt", "mount -- ./list /mnt"},
		{"mount list /mnt", "mount -- list /mnt"},
		{"-- list /mnt", "mount -- list /mnt"},
		{"dump a.img -C /tmp --lv vg/lv", "dump -C /tmp --lv vg/lv -- a.img"},

		{"--help", "--help"},
		{"-h", "-h"},
		{"--version", "--version"},
		{"mount --help", "mount --help --"},
		{"--help list", "list --help --"},
		{"-r --help", "mount -r --help --"},
		{"-o", "mount -o --"},
	} {
		got := canonicalArgs(parser.Model, strings.Fields(c.in))
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", c.in, diff)
		}
	}
}
