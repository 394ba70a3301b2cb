package notify

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// bookName is the setting that holds the book.
const bookName = "notify/book"

const (
	maxBook  = 300 << 10 // bytes as saved; an item of a DynamoDB table holds 400 KB
	plainTo  = 32 << 10  // bytes; a longer book is compressed
	maxPlain = 64 << 20  // bytes that a compressed book may have
)

// encode returns the book as it is saved. What does not fit is dropped, what
// is missed least first.
func (b *book) encode(n *Notifier) ([]byte, error) {
	var dropped []string
	for {
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("encoding notices: %w", err)
		}
		if len(raw) > plainTo {
			var z bytes.Buffer
			w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed) // a level that there is
			_, err := w.Write(raw)
			if err = errors.Join(err, w.Close()); err != nil {
				return nil, fmt.Errorf("encoding notices: %w", err)
			}
			raw = z.Bytes()
		}
		if len(raw) <= maxBook {
			if dropped != nil {
				n.Log.Error("there is no room for more notices", "dropped", strings.Join(slices.Compact(dropped), "; "))
			}
			return raw, nil
		}
		what := b.shed()
		if what == "" {
			return nil, errors.New("encoding notices: they are too large")
		}
		dropped = append(dropped, what)
	}
}

func decode(raw []byte) (book, error) {
	if len(raw) > 1 && raw[0] == 0x1f {
		r, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return book{}, err
		}
		if raw, err = io.ReadAll(io.LimitReader(r, maxPlain)); err != nil {
			return book{}, err
		}
	}
	var b book
	err := json.Unmarshal(raw, &b)
	return b, err
}

func newBook() book { return book{ID: strings.ToLower(rand.Text()[:10])} }

// shed drops a part of the book and says what; "" if nothing is left to drop.
// Messages that some channel took go first, then counts, then news that are
// not urgent, the newest first; a trouble that goes untold is forgotten, so
// that it is taken down again when it is seen again. What is urgent goes last.
func (b *book) shed() string {
	if drop(&b.Outbox, func(p parcel) bool { return p.Taken }, nil) {
		return "messages that one channel does not take, while others did"
	}
	if drop(&b.Outbox, func(p parcel) bool { return !p.Since.IsZero() }, nil) {
		return "digests"
	}
	if len(b.Tally.Users) > 0 {
		for _, count := range b.Tally.Users {
			b.Tally.Other += count
		}
		b.Tally.Users = nil
		return "counts of rotations by user"
	}
	untold := func(it Item) {
		if it.Kind == Trouble {
			b.forget(it.User, it.What)
		}
	}
	for _, urgent := range []bool{false, true} {
		if drop(&b.Fresh, func(it Item) bool { return it.Urgent == urgent }, untold) {
			return "news that are in no message yet"
		}
		unsent := func(p parcel) {
			for _, it := range p.Items {
				untold(it)
			}
		}
		if drop(&b.Outbox, func(p parcel) bool { return p.urgent() == urgent }, unsent) {
			return "messages that no channel takes"
		}
	}
	if len(b.Troubles) == 0 {
		return ""
	}
	half := (len(b.Troubles) + 1) / 2
	for user := range b.Troubles { // they are told again
		if half--; half < 0 {
			break
		}
		delete(b.Troubles, user)
	}
	return "troubles that were told"
}

// drop removes the later half of those in list that match, handing each to f,
// and reports whether there were any.
func drop[T any](list *[]T, match func(T) bool, f func(T)) bool {
	matching := 0
	for _, x := range *list {
		if match(x) {
			matching++
		}
	}
	seen := 0
	*list = slices.DeleteFunc(*list, func(x T) bool {
		if !match(x) {
			return false
		}
		if seen++; seen <= matching/2 {
			return false
		}
		if f != nil {
			f(x)
		}
		return true
	})
	return matching > 0
}

// stored changes the stored book in one save; change may be called several
// times. It returns false from change to save nothing.
func (n *Notifier) stored(ctx context.Context, change func(*book) bool) error {
	for {
		b := newBook()
		raw, version, err := n.Settings.Setting(ctx, bookName)
		switch {
		case errors.Is(err, rotate.ErrNotFound):
			version = 0
		case err != nil:
			return fmt.Errorf("reading notices: %w", err)
		default:
			if has, err := decode(raw); err != nil {
				n.Log.Error("the stored notices cannot be read and are discarded", "err", err)
			} else {
				b = has
			}
		}
		n.keep(raw)
		b.route(n.names())
		if !change(&b) {
			return nil
		}
		if raw, err = b.encode(n); err != nil {
			return err
		}
		_, err = n.Settings.SaveSetting(ctx, bookName, raw, version)
		if !errors.Is(err, rotate.ErrConflict) {
			if err != nil {
				return fmt.Errorf("saving notices: %w", err)
			}
			n.keep(raw)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
