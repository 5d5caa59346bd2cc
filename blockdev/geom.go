package blockdev

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// geomWritten says whether a provider of GEOM ("ada0") is open for writing, by what FreeBSD's sysctl
// kern.geom.confxml tells: each provider has a mode such as r1w0e0, the numbers of those that have it open
// for reading, for writing and exclusively. (geom(4))
func geomWritten(confxml []byte, provider string) (bool, error) {
	var mesh struct {
		Providers []struct {
			Name string `xml:"name"`
			Mode string `xml:"mode"`
		} `xml:"class>geom>provider"`
	}
	if err := xml.Unmarshal(confxml, &mesh); err != nil {
		return false, fmt.Errorf("kern.geom.confxml: %w", err)
	}
	for _, p := range mesh.Providers {
		if p.Name != provider {
			continue
		}
		_, writers, found := strings.Cut(p.Mode, "w")
		if !found {
			return false, fmt.Errorf("kern.geom.confxml: provider %s has mode %q", provider, p.Mode)
		}
		return !strings.HasPrefix(writers, "0e"), nil
	}
	return false, fmt.Errorf("kern.geom.confxml: no provider %s", provider)
}
