// Package web holds the files of the status page (pkg/page).
package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
)

// File is a file and a short hash of it, which is part of its address.
type File struct{ Text, Hash string }

var (
	//go:embed app.css
	css string
	//go:embed app.js
	js string
	//go:embed icon.svg
	icon string
)

// The files.
var (
	CSS  = file(css)
	JS   = file(js)
	Icon = file(icon)
)

func file(text string) File {
	sum := sha256.Sum256([]byte(text))
	return File{text, hex.EncodeToString(sum[:8])}
}
