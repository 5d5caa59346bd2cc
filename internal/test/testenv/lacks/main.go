// Lacks says in a line each what the tests will skip on this machine, and why.
package main

import (
	"fmt"

	"lvm2fs/internal/test/testenv"
)

func main() {
	for _, lack := range testenv.Lacks() {
		fmt.Printf("SKIP: no test that wants %s can run: %v\n", lack.Name, lack.Err)
	}
}
