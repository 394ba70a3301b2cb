package dynamodb

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"sync"

	"github.com/keyrot/keyrot/pkg/store/content"
)

// A record of a user with two keys and an hour of tombstones is 1.4 kB of JSON,
// and each write is billed by the kB of the whole item. So a record that does not
// fit in is compressed. It stays JSON while it is short.

const (
	plainSize  = 900     // of record, sealed and the user's name twice; the rest of the item takes 110 of the 1,024
	unpackSize = 1 << 20 // no record is as long
)

// dictionary is part of the format: what records are likely to contain, the
// likeliest last.
var dictionary = []byte(`"renamed":"","released":"","orphans":[{"id":"AKIA","at":""}],"pause":{"since":"","until":"","reason":"","by":""},` +
	`"order":{"kind":"burn","key_id":"AKIA","at":"","by":"","reason":"","lost":["AKIA"]},"kind":"force","kind":"recover","kind":"rollback",` +
	`"targets":[{"name":"","key":"AKIA","until":"","at":"","again":"","tries":1,"error":""}],"foreign":["AKIA"],` +
	`"waiting":"","since":"","failures":1,"retry_at":"","error":"","held_by":[""],"hold_since":"","refused":"","broken":"","burned":"",` +
	`"dead":"","adopted":true,"surveyed":"","again":"","stage":"Retiring",` +
	`{"user":"","user_id":"AIDA","arn":"arn:aws:iam::","enrolled":"20","slot":"20","served":"20","keys":[` +
	`{"id":"AKIA","stage":"Previous","slot":"20","created":"20","made":"20","proven":"20","confirmed":"20","promoted":"20",` +
	`"promise":"20","deactivated":"20","probed":"20"},{"id":"AKIA","stage":"Pending","slot":"20","created":"20","made":"20","proven":"20"},` +
	`{"id":"AKIA","stage":"Current","slot":"20","created":"20","made":"20","proven":"20","confirmed":"20","promoted":"20","promise":"20"}],` +
	`"intents":[{"id":"","at":"20","until":"20","slot":"20","seen":["AKIA"]}],"gone":[{"id":"AKIA","at":"20"},{"id":"AKIA","at":"2026-`)

var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriterDict(io.Discard, flate.BestCompression, dictionary)
	if err != nil {
		panic(err) // the level is known
	}
	return w
}}

// pack compresses a record.
func pack(record []byte) []byte {
	var out bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	_, _ = w.Write(record) // a buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

// unpack is the inverse of pack.
func unpack(packed []byte) ([]byte, error) {
	r := flate.NewReaderDict(bytes.NewReader(packed), dictionary)
	record, err := io.ReadAll(io.LimitReader(r, unpackSize))
	if err != nil {
		return nil, fmt.Errorf("packed record: %w: %w", content.ErrCorrupt, err)
	}
	return record, nil
}

// recordOf returns the record of an entry's item.
func recordOf(it item) ([]byte, error) {
	if packed := it.bytes(attrPacked); packed != nil {
		return unpack(packed)
	}
	return []byte(it.text(attrRecord)), nil
}

// setRecord puts the user's record into an item beside sealed, in as few kB as
// it takes.
func setRecord(it item, user string, record, sealed []byte) {
	it[attrRecord], it[attrPacked] = text(string(record)), nil
	if len(record)+len(sealed)+2*len(user) > plainSize {
		it[attrRecord], it[attrPacked] = nil, blob(pack(record))
	}
}
