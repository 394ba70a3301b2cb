//go:build !unix

// Command asker needs unix sockets.
package main

func main() { panic("needs unix sockets") }
