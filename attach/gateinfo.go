package attach

import "encoding/xml"

// GateInfo reads the info of a unit of geom_gate ("ggate0") from what FreeBSD's sysctl kern.geom.confxml tells. known is
// false where that does not tell. (geom(4))
func GateInfo(confxml []byte, name string) (info string, known bool) {
	var mesh struct {
		Geoms []struct {
			Name string `xml:"name"`
			Info string `xml:"config>info"`
		} `xml:"class>geom"`
	}
	if err := xml.Unmarshal(confxml, &mesh); err != nil {
		return "", false
	}
	for _, g := range mesh.Geoms {
		if g.Name == name && g.Info != "" {
			return g.Info, true
		}
	}
	return "", false
}
