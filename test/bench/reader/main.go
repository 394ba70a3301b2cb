// Command reader is the floor of a warm get-key: it reads a file and prints it.
package main

import "os"

func main() {
	raw, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.Write(raw)
}
