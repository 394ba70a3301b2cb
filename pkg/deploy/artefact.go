package deploy

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrArtefact: this cannot be the function's program.
var ErrArtefact = errors.New("not a function for provided.al2023 on arm64")

// Limits of Lambda for a function from S3, in bytes (Lambda Developer Guide,
// quotas).
const (
	maxUnzipped = 250 << 20
	maxZipped   = 50 << 20 // of a direct upload; more than that is no keyrot
)

const bootstrap = "bootstrap"

// Artefact is a function's zip.
type Artefact struct {
	Zip []byte
	// Sum is the SHA-256 of Zip, in hexadecimal: equal programs have equal
	// artefacts.
	Sum string
}

// Pack makes the zip of a program. ErrArtefact if Lambda could not run it.
func Pack(program []byte) (Artefact, error) {
	if err := runnable(program); err != nil {
		return Artefact{}, err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	h := &zip.FileHeader{Name: bootstrap, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.SetMode(0o755) // without it the function ends with Runtime.InvalidEntrypoint
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write(program)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return Artefact{}, fmt.Errorf("zipping the function: %w", err)
	}
	return seal(b.Bytes()), nil
}

// Check takes a zip that somebody else made. ErrArtefact if Lambda could not
// run what is in it.
func Check(raw []byte) (Artefact, error) {
	if len(raw) > maxZipped {
		return Artefact{}, fmt.Errorf("%w: the zip has more than %d MiB", ErrArtefact, maxZipped>>20)
	}
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return Artefact{}, fmt.Errorf("%w: %w", ErrArtefact, err)
	}
	for _, f := range z.File {
		if f.Name != bootstrap {
			continue
		}
		if f.Mode()&0o111 == 0 {
			return Artefact{}, fmt.Errorf("%w: bootstrap in the zip is not executable", ErrArtefact)
		}
		if f.UncompressedSize64 > maxUnzipped {
			return Artefact{}, fmt.Errorf("%w: bootstrap has more than %d MiB", ErrArtefact, maxUnzipped>>20)
		}
		r, err := f.Open()
		if err != nil {
			return Artefact{}, fmt.Errorf("%w: %w", ErrArtefact, err)
		}
		program, err := io.ReadAll(io.LimitReader(r, maxUnzipped))
		if err := errors.Join(err, r.Close()); err != nil {
			return Artefact{}, fmt.Errorf("%w: %w", ErrArtefact, err)
		}
		if err := runnable(program); err != nil {
			return Artefact{}, err
		}
		return seal(raw), nil
	}
	return Artefact{}, fmt.Errorf("%w: the zip has no file bootstrap at its root", ErrArtefact)
}

func seal(raw []byte) Artefact {
	sum := sha256.Sum256(raw)
	return Artefact{Zip: raw, Sum: hex.EncodeToString(sum[:])}
}

// The fields of an ELF file that are looked at (System V ABI, chapter 4).
const (
	elfClass64  = 2
	elfLittle   = 1
	elfArm64    = 183
	elfInterp   = 3 // program header: needs a dynamic linker
	elfHeader   = 64
	elfSegment  = 56
	maxSegments = 64
)

// runnable reports whether the program is a static ELF file for arm64.
func runnable(p []byte) error {
	switch {
	case len(p) < elfHeader || string(p[:4]) != "\x7fELF" || p[4] != elfClass64 || p[5] != elfLittle:
		return fmt.Errorf("%w: it is no Linux program", ErrArtefact)
	case binary.LittleEndian.Uint16(p[18:]) != elfArm64:
		return fmt.Errorf("%w: it is for another processor", ErrArtefact)
	}
	at, size, n := binary.LittleEndian.Uint64(p[32:]), int(binary.LittleEndian.Uint16(p[54:])), int(binary.LittleEndian.Uint16(p[56:]))
	if size != elfSegment || n > maxSegments || at > uint64(len(p)) || uint64(len(p))-at < uint64(n*size) {
		return fmt.Errorf("%w: its program header is malformed", ErrArtefact)
	}
	for i := range n {
		if binary.LittleEndian.Uint32(p[at+uint64(i*size):]) == elfInterp {
			return fmt.Errorf("%w: it needs a dynamic linker; build it with CGO_ENABLED=0", ErrArtefact)
		}
	}
	return nil
}
