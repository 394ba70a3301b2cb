// Command keyrot rotates the access keys of IAM users and hands out the
// active ones.
package main

import (
	"os"

	_ "github.com/keyrot/keyrot/cmd/keyrot/early" // get-key does not wait for the rest
	"github.com/keyrot/keyrot/internal/cli"
)

func main() { os.Exit(cli.Main()) }
