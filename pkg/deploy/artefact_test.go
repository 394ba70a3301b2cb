package deploy_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/deploy"
)

// elf makes the head of a program for a machine, with one segment.
func elf(machine uint16, segment uint32) []byte {
	p := make([]byte, 64+56)
	copy(p, "\x7fELF\x02\x01")
	binary.LittleEndian.PutUint16(p[18:], machine)
	binary.LittleEndian.PutUint64(p[32:], 64)
	binary.LittleEndian.PutUint16(p[54:], 56)
	binary.LittleEndian.PutUint16(p[56:], 1)
	binary.LittleEndian.PutUint32(p[64:], segment)
	return p
}

func TestPack(t *testing.T) {
	t.Parallel()
	a, err := deploy.Pack(elf(183, 1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := deploy.Check(a.Zip)
	if err != nil || a.Sum != b.Sum {
		t.Errorf("Check of what Pack made = %v, sums %s and %s", err, a.Sum, b.Sum)
	}
	z, err := zip.NewReader(bytes.NewReader(a.Zip), int64(len(a.Zip)))
	if err != nil || len(z.File) != 1 || z.File[0].Name != "bootstrap" || z.File[0].Mode().Perm() != 0o755 {
		t.Errorf("the zip holds %v, %v, want bootstrap with mode 0755 alone", z, err)
	}
	if c, _ := deploy.Pack(elf(183, 1)); c.Sum != a.Sum {
		t.Error("equal programs make different zips")
	}
	cut := elf(183, 1)[:100]
	for name, p := range map[string][]byte{"no program": []byte("#!/bin/sh"), "another processor": elf(62, 1), "dynamic linker": elf(183, 3), "malformed": cut} {
		if _, err := deploy.Pack(p); !errors.Is(err, deploy.ErrArtefact) {
			t.Errorf("Pack of %s = %v, want %v", name, err, deploy.ErrArtefact)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	zipped := func(name string, mode uint32, p []byte) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: name, CreatorVersion: 3 << 8, ExternalAttrs: mode << 16}
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write(p)
		}
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for want, raw := range map[string][]byte{
		"not a valid zip":   []byte("x"),
		"no file bootstrap": zipped("bin/bootstrap", 0o100755, elf(183, 1)),
		"not executable":    zipped("bootstrap", 0o100644, elf(183, 1)),
		"another processor": zipped("bootstrap", 0o100755, elf(62, 1)),
	} {
		if _, err := deploy.Check(raw); !errors.Is(err, deploy.ErrArtefact) || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v, want %q", err, want)
		}
	}
}
