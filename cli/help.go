package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
)

// rootHelp is what a person who has never seen lvm2fs needs first.
const rootHelp = `lvm2fs mounts LVM2 volume groups without device-mapper: each volume group becomes a
directory, each logical volume a file. DEVICEs are disks, partitions or image files
(raw, qcow2, VMDK, VHD, VHDX, VDI), in any order; partition tables, MD arrays and LUKS
containers on them are looked through. Nothing is written unless you write to a volume.

Examples:
  lvm2fs list disk.img                          what is on it?
  lvm2fs /dev/sdb1 /dev/sdc1 /mnt/lvm           mount; ls /mnt/lvm/VG shows the volumes
  lvm2fs -r disk.img ~/lvm                      the same from an image, read-only, without root
  lvm2fs --key-file key laptop.qcow2 ~/lvm      through LUKS; without a key file you are asked
  lvm2fs --scan /mnt/lvm                        from all disks that there are
  lvm2fs umount /mnt/lvm                        unmount, and wait until it is done
  lvm2fs dump --lv vg/root -C /tmp disk.img     write one volume to /tmp/vg/root; needs no FUSE
  lvm2fs map --lv vg/root disk.img              where on the disks are its bytes?
  lvm2fs check disk1.img disk2.img              can all be read, and do the legs of RAIDs agree?
`

type helpCmd struct {
	Command string `arg:"" optional:"" help:"The command to tell about."`
}

// Help is shown by lvm2fs help --help, between the synopsis and the flags.
func (helpCmd) Help() string {
	return `Examples:
  lvm2fs help
  lvm2fs help dump                     the same as lvm2fs dump --help`
}

func (c *helpCmd) Run(a *app, ctx *kong.Context) error {
	if c.Command == "" {
		printHelp(a.stdout, ctx.Model, nil)
		return nil
	}
	command := findCommand(ctx.Model, c.Command)
	if command == nil {
		return usagef("%s: no such command%s", c.Command, didYouMean(ctx.Model, c.Command))
	}
	printHelp(a.stdout, ctx.Model, command)
	return nil
}

// printHelp shows how to use one command, or the program as a whole where command is
// nil.
func printHelp(out io.Writer, app *kong.Application, command *kong.Node) {
	const width = 80 // characters
	w := new(strings.Builder)
	defer func() { _, _ = io.WriteString(out, wrapText(w.String(), width)) }()
	if command != nil {
		printCommandHelp(w, app, command)
		return
	}
	fmt.Fprintf(w, "Usage: %s\n       lvm2fs COMMAND [flags] ...\n\n%s\nCommands:\n", usage(findCommand(app, "mount")), rootHelp)
	table := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, child := range app.Children {
		if !child.Hidden {
			fmt.Fprintf(table, "  %s\t%s\n", child.Name, child.Help)
		}
	}
	_ = table.Flush()
	fmt.Fprint(w, "\nFlags of mount:\n")
	printFlags(w, findCommand(app, "mount").Flags)
	fmt.Fprint(w, "\nFlags of every command:\n")
	printFlags(w, app.Flags)
	fmt.Fprint(w, "\nlvm2fs COMMAND --help tells more about a command; man 8 lvm2fs about all of them.\n")
}

func printCommandHelp(w io.Writer, app *kong.Application, command *kong.Node) {
	fmt.Fprintf(w, "Usage: %s\n\n%s\n", usage(command), command.Help)
	if command.Detail != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(command.Detail))
	}
	fmt.Fprint(w, "\nFlags:\n")
	printFlags(w, append(append([]*kong.Flag{}, command.Flags...), app.Flags...))
}

func usage(command *kong.Node) string { return command.Tag.Get("usage") }

func printFlags(w io.Writer, flags []*kong.Flag) {
	table := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, flag := range flags {
		if flag.Hidden {
			continue
		}
		for i, line := range strings.Split(flag.Help, "\n") {
			names := ""
			if i == 0 {
				names = flagNames(flag)
			}
			fmt.Fprintf(table, "  %s\t%s\n", names, line)
		}
	}
	_ = table.Flush()
}

// flagNames is "-o, --options=OPT,...", "    --json".
func flagNames(flag *kong.Flag) string {
	names := "    --" + flag.Name
	if flag.Short != 0 {
		names = "-" + string(flag.Short) + ", --" + flag.Name
	}
	if !flag.IsBool() && !flag.IsCounter() {
		names += "=" + flag.FormatPlaceHolder()
	}
	return names
}
