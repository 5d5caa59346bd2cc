//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// figure is one line of a run. With BENCHJSON a run writes a list of them, so that two runs can be compared.
type figure struct {
	Under string  `json:"under"` // the heading that it stands under
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
	Ratio float64 `json:"ratio,omitempty"` // of Value to that of something else, in the same run; 0 for none
	Of    string  `json:"of,omitempty"`    // something else
	// AtLeast and AtMost are what Ratio is to be; 0 for nothing.
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
}

// figures are those of this run.
var (
	figures []figure
	under   string
)

func heading(format string, args ...any) {
	under = fmt.Sprintf(format, args...)
	fmt.Printf("\n%s\n", under)
}

// row prints a figure with its ratio to another; 0 for none.
func row(name string, value float64, unit string, against float64, of string) {
	compared(figure{Name: name, Value: value, Unit: unit, Of: of}, against)
}

// goal prints a figure. Its ratio is to be at least so much.
func goal(name string, value float64, unit string, against float64, of string, wanted float64) {
	compared(figure{Name: name, Value: value, Unit: unit, Of: of, AtLeast: wanted}, against)
}

// limit prints how many seconds something took. Its ratio is to be at most so much.
func limit(name string, seconds, against float64, of string, wanted float64) {
	compared(figure{Name: name, Value: seconds, Unit: "s", Of: of, AtMost: wanted}, against)
}

func compared(f figure, against float64) {
	f.Under = under
	if against != 0 {
		f.Ratio = f.Value / against
	}
	figures = append(figures, f)
	fmt.Printf("  %-52s %10.3f %-8s %s\n", f.Name, f.Value, f.Unit, f.ratio())
}

func (f figure) ratio() string {
	if f.Ratio == 0 {
		return ""
	}
	s := fmt.Sprintf("x %.2f %s", f.Ratio, f.Of)
	switch {
	case f.AtLeast > 0:
		s += fmt.Sprintf("; wanted: %.2f", f.AtLeast)
	case f.AtMost > 0:
		s += fmt.Sprintf("; wanted: at most %.2f", f.AtMost)
	}
	if f.missed() {
		s += ", MISSED"
	}
	return s
}

func (f figure) wanted() bool { return f.AtLeast > 0 || f.AtMost > 0 }

// missed says whether the ratio fails its limit by more than the noise of a shared machine.
func (f figure) missed() bool {
	const noise = 0.05
	return f.AtLeast > 0 && f.Ratio < f.AtLeast*(1-noise) || f.AtMost > 0 && f.Ratio > f.AtMost*(1+noise)
}

// summary tells which wanted ratios were missed, and writes all figures where BENCHJSON says.
func summary() error {
	held, missed := 0, []figure(nil)
	for _, f := range figures {
		switch {
		case f.missed():
			missed = append(missed, f)
		case f.wanted():
			held++
		}
	}
	fmt.Printf("\n%d wanted ratios are held, %d are missed.\n", held, len(missed))
	for _, f := range missed {
		fmt.Printf("  %-52s %s\n    (%s)\n", f.Name, f.ratio(), f.Under)
	}
	file := os.Getenv("BENCHJSON")
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
