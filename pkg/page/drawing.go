package page

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"strings"
	"time"
)

// stamp stands for a part, an item or an order of items as it is.
type stamp uint32

func stampOf(id, content string) stamp {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id + "\n" + content))
	return stamp(h.Sum32())
}

// drawing is a view as it is sent to the script, made once for all who look.
type drawing struct {
	parts  map[string]string // HTML by element id
	items  map[string]string
	orders map[string][]string // ids of the items of each list
	stamps map[string]stamp    // of all of them, by id
	ids    []string            // the keys of stamps, in order
}

// change is one message of a stream: what is new.
type change struct {
	At     int64               `json:"at"` // the server's time, in ms since 1970
	Parts  map[string]string   `json:"parts,omitempty"`
	Items  map[string]string   `json:"items,omitempty"`
	Orders map[string][]string `json:"orders,omitempty"`
}

func (c change) empty() bool { return len(c.Parts)+len(c.Items)+len(c.Orders) == 0 }

// drawing draws the view when it is first asked for.
func (v *view) drawing() *drawing {
	v.once.Do(func() {
		d := &v.drawn
		*d = drawing{map[string]string{}, map[string]string{}, map[string][]string{}, map[string]stamp{}, nil}
		note := func(id, content string) {
			d.stamps[id] = stampOf(id, content)
			d.ids = append(d.ids, id)
		}
		for _, f := range v.parts() {
			d.parts[f.id] = render(f.node)
			note(f.id, d.parts[f.id])
		}
		for _, l := range v.lists(time.Time{}) {
			d.orders[l.id] = []string{}
			for _, f := range l.items {
				d.items[f.id] = render(f.node)
				d.orders[l.id] = append(d.orders[l.id], f.id)
				note(f.id, d.items[f.id])
			}
			note(l.id, strings.Join(d.orders[l.id], " "))
		}
	})
	return &v.drawn
}

// since is what differs from seen and is not among have.
func (d *drawing) since(seen map[string]stamp, have map[stamp]bool) change {
	is := func(id string) bool {
		m := d.stamps[id]
		old, ok := seen[id]
		return ok && old == m || have[m]
	}
	c := change{Parts: maps.Clone(d.parts), Items: maps.Clone(d.items), Orders: maps.Clone(d.orders)}
	maps.DeleteFunc(c.Parts, func(id, _ string) bool { return is(id) })
	maps.DeleteFunc(c.Items, func(id, _ string) bool { return is(id) })
	maps.DeleteFunc(c.Orders, func(id string, _ []string) bool { return is(id) })
	return c
}

// encode writes all stamps for an address, stampsOf reads them.
func (d *drawing) encode() string {
	var raw []byte
	for _, id := range d.ids {
		raw = binary.BigEndian.AppendUint32(raw, uint32(d.stamps[id]))
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func stampsOf(s string) map[stamp]bool {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	have := map[stamp]bool{}
	for ; len(raw) >= 4; raw = raw[4:] {
		have[stamp(binary.BigEndian.Uint32(raw))] = true
	}
	return have
}
