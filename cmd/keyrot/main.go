// Command keyrot rotates the access keys of IAM users and hands out the
// active ones.
package main

import (
	"os"

	"github.com/keyrot/keyrot/internal/cli"
)

func main() { os.Exit(cli.Main()) }
