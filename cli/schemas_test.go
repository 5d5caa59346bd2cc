package cli

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

func TestWhatIsPrintedAsJSONFollowsItsSchema(t *testing.T) {
	testenv.Long(t)
	for _, cmd := range []struct {
		schema string
		args   []string
	}{
		{schemaFile, []string{"list", "--json", "-a"}},
		{"docs/history.schema.json", []string{"history", "--json"}},
		{"docs/undelete.schema.json", []string{"undelete", "--json"}},
	} {
		t.Run(cmd.args[0], func(t *testing.T) {
			compiled, err := jsonschema.NewCompiler().Compile(filepath.Join(testenv.Root(), cmd.schema))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range testimages.All(t) {
				t.Run(c.Name, func(t *testing.T) { followsSchema(t, compiled, c, cmd.args) })
			}
		})
	}
}

func followsSchema(t *testing.T, compiled *jsonschema.Schema, c *testimages.Case, args []string) {
	if !c.Supported() {
		t.Skip("SKIP: the manual says that it is not read")
	}
	args = slices.Concat(args, c.Flags(), c.Unpack(t))
	if c.Extra.Passphrase != "" {
		args = append(args, "--key-file", keyFileWith(t, c.Extra.Passphrase))
	}
	var stdout, stderr bytes.Buffer
	if code := Main(args, strings.NewReader(""), &stdout, &stderr); code != exitOK && code != exitIncomplete {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	doc, err := jsonschema.UnmarshalJSON(&stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(doc); err != nil {
		t.Error(err)
	}
}
