// Command lvm2fs mounts LVM2 volume groups without device-mapper.
package main

import (
	"os"

	"lvm2fs/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
