package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

func TestVerifyFindsTampering(t *testing.T) {
	t.Parallel()
	var s rotatetest.MemStore
	path := written(t, 6, &s)
	whole := read(t, path)
	lines := bytes.SplitAfter(whole, []byte("\n"))[:6]
	end, err := VerifyFile(t.Context(), path, &s)
	if err != nil {
		t.Fatal(err)
	}
	forged, _ := Frame(nil, Tail{}, []byte(`{"action":"forged"}`))
	for name, c := range map[string]struct {
		lines [][]byte
		want  string
	}{
		"changed":                {[][]byte{lines[0], lines[1], bytes.Replace(lines[2], []byte("u2"), []byte("u9"), 1), lines[3]}, "line 3:"},
		"changed hash":           {[][]byte{lines[0], bytes.Replace(lines[1], lines[1][len(lines[1])-10:len(lines[1])-3], []byte("0000000"), 1)}, "line 2:"},
		"dropped":                {[][]byte{lines[0], lines[2]}, "line 2: has number 3"},
		"first dropped":          {lines[1:], "line 1: has number 2"},
		"reordered":              {[][]byte{lines[0], lines[2], lines[1]}, "line 2: has number 3"},
		"repeated":               {[][]byte{lines[0], lines[1], lines[1]}, "line 3: has number 2"},
		"forged and re-hashed":   {[][]byte{forged, lines[1]}, "line 2: does not follow"},
		"end cut off":            {lines[:4], "line 5: missing"},
		"all cut off":            {nil, "line 1: missing"},
		"cut within a line":      {[][]byte{lines[0], lines[1][:20]}, "line 2: incomplete"},
		"last newline cut off":   {[][]byte{lines[0], lines[1][:len(lines[1])-1]}, "line 2: incomplete"},
		"blank line":             {[][]byte{lines[0], []byte("\n"), lines[1]}, "line 2: a line of 0 bytes"},
		"carriage return":        {[][]byte{append(lines[0][:len(lines[0])-1:len(lines[0])-1], "\r\n"...)}, "line 1:"},
		"very long line":         {[][]byte{lines[0], bytes.Repeat([]byte("x"), 2*maxLine)}, "line 2: longer"},
		"another chain entirely": {[][]byte{forged}, "line 2: missing"},
	} {
		_, err := VerifyBetween(bytes.NewReader(bytes.Join(c.lines, nil)), Tail{}, end)
		if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: VerifyBetween = %v, want %q", name, err, c.want)
		}
	}
	if _, err := VerifyLog(bytes.NewReader(whole)); err != nil {
		t.Errorf("VerifyLog of the whole log = %v", err)
	}
	first, err := ParseLine(bytes.TrimSuffix(lines[0], []byte("\n")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyBetween(bytes.NewReader(bytes.Join(lines[1:], nil)), Tail{1, first.Hash}, end); err != nil {
		t.Errorf("VerifyBetween of a later part = %v", err)
	}
}

func FuzzParseLine(f *testing.F) {
	line, _ := Frame(nil, Tail{}, []byte(`{"time":"2026-11-23T18:00:00Z","action":"create","user":"ann"}`))
	f.Add(line[:len(line)-1])
	f.Add([]byte(`{"seq":1,"prev":"","hash":""}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLine(b)
		switch {
		case err != nil && !errors.Is(err, ErrBroken):
			t.Errorf("ParseLine = %v, want %v", err, ErrBroken)
		case err == nil && !bytes.Contains(b, []byte(l.Hash)):
			t.Errorf("hash %q is not in the line", l.Hash)
		}
		// A reader of whole logs must say the same about it.
		for _, err := range Lines(bytes.NewReader(append(bytes.ReplaceAll(b, []byte("\n"), nil), '\n'))) {
			if err != nil && !errors.Is(err, ErrBroken) {
				t.Errorf("Lines = %v, want %v", err, ErrBroken)
			}
		}
	})
}

// What counts as a record is what a parser of JSON says, whether or not a line
// is simple enough to need none.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{"seq":1,"prev":"a"}`, `{"a":"b\n"}`, `{"a":"b"`, `{}`, `{"a":1,}`, `{"a":01}`, `{"a":-1.5e3}`, `{"a":{"b":[1]}}`, `{"a" : 1}`, `{,}`,
		`{"a":"b"}}`, `{"a":"b",`, `{"a":"`, `{"a"`, `{"a":true}`, `x`, ``, `{"a":1}{`, "{\"a\":\"\x01\"}", `{"ä":"ö"}`, `{"a":0}`, `{"":0.0}`, `{"a":,"b":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 && b[0] == '{' && record(b) != json.Valid(b) {
			t.Errorf("record(%q) = %v, want %v", b, record(b), !record(b))
		}
	})
}
