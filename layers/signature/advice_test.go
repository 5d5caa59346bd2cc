package signature

import (
	"strings"
	"testing"
)

func TestTextIsToldFromOtherBytes(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "a list:\n\tbanana\r\n": true, "größe": true, strings.Repeat("a", 4095) + "ß": true, strings.Repeat("ö", 5000): true,
		"a\x00b": false, "\x1b[31m": false, "\xff\xfe": false, "cut \xc3": false,
	} {
		if got := IsText(strings.NewReader(text), int64(len(text))); got != want {
			t.Errorf("%.20q: %v", text, got)
		}
	}
}

func TestAdviceIsForWhatItIsAbout(t *testing.T) {
	for want, s := range map[string]Signature{
		"mount it directly":          {KindFilesystem, "ext4 file system", 0},
		"there are no volumes in it": {KindSwap, "swap space", 0},
		"":                           {KindFilesystem, "ZFS pool member", 0},
	} {
		if got := s.Advice(); got != want {
			t.Errorf("%s: %q", s.Name, got)
		}
	}
}
