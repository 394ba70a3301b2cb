package rotatetest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// RecordHandout implements [rotate.Handouts]. Nothing is left out.
func (m *MemStore) RecordHandout(ctx context.Context, caller, user, keyID, addr string, at time.Time) error {
	return m.do(ctx, OpRecordHandout, user, func() error {
		h := rotate.Handout{Caller: caller, User: user, Key: keyID, Addr: addr, First: at, Last: at}
		i := slices.IndexFunc(m.handouts, func(o rotate.Handout) bool {
			return o.Caller == caller && o.User == user && o.Key == keyID
		})
		if i < 0 {
			m.handouts = append(m.handouts, h)
			return nil
		}
		if o := &m.handouts[i]; !at.Before(o.Last) {
			o.Last, o.Addr = at, addr
		}
		return nil
	})
}

// Holders implements [rotate.Handouts].
func (m *MemStore) Holders(ctx context.Context, user, keyID string) ([]string, error) {
	var out []string
	err := m.do(ctx, OpHolders, user, func() error {
		latest := make(map[string]rotate.Handout)
		for _, h := range m.handouts {
			if h.User == user && !h.Last.Before(latest[h.Caller].Last) {
				latest[h.Caller] = h
			}
		}
		for caller, h := range latest {
			if h.Key == keyID {
				out = append(out, caller)
			}
		}
		slices.Sort(out)
		return nil
	})
	return orZero(out, err)
}

// WhoHas implements [rotate.Handouts].
func (m *MemStore) WhoHas(ctx context.Context, keyID string) ([]rotate.Handout, error) {
	var out []rotate.Handout
	err := m.do(ctx, OpWhoHas, "", func() error {
		for _, h := range m.handouts {
			if h.Key == keyID {
				out = append(out, h)
			}
		}
		slices.SortFunc(out, func(a, b rotate.Handout) int {
			return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Caller, b.Caller))
		})
		return nil
	})
	return orZero(out, err)
}
