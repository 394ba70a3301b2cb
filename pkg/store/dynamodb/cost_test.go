package dynamodb

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyrot/keyrot/internal/cost"
	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal/kmsseal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// The numbers that "keyrot plan --cost" multiplies are what this store does: of
// one user, by processes that go on, as warm functions and daemons do.
// They are compared exactly, so that a change that costs more is seen.
func TestCost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := &meter{}
		time.Sleep(123456789) // instants have all their digits
		iam := &rotatetest.AWS{}
		iam.AddUser("ann", "/machines/", nil)
		f := newFake()
		sealer := func() *kmsseal.Sealer {
			return &kmsseal.Sealer{API: m.kms(), Key: kmsARN, Context: content.EncryptionContext}
		}
		st := &Store{API: m.api(f), Table: "t", Sealer: sealer()}
		record := &Audit{API: st.API, Table: "t", Sealer: st.Sealer, Chain: "rotator"}
		r := &rotate.Rotator{
			Clock: rotatetest.Clock(), IAM: iam, Store: st, Audit: record, Recorded: record.Flush, Handouts: st, Log: slog.New(slog.DiscardHandler),
			Owner:  "lambda/2026/11/26/[$LATEST]0123456789abcdef0123456789abcdef/ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			Select: func(context.Context) ([]rotate.User, error) { return iam.Users(), nil },
		}
		passes := 0
		pass := func() {
			if _, err := r.RunOnce(ctx, rotate.Options{}); err != nil {
				t.Fatal(err)
			}
			// The bubble's minutes, which are as uneven as those of a scheduler.
			time.Sleep(time.Minute + time.Duration(passes%5-2)*200*time.Millisecond)
			passes++
		}
		for range 130 { // until an hour of tombstones has gathered
			pass()
		}
		m.what = nil
		from, log := m.Operations, f.sizeOf(kindLine+"rotator\x00")
		const rotations = 12
		looks := 0
		for range rotations * 10 {
			pass()
			looks++
		}
		all := cost.Operations{
			ReadUnits: m.ReadUnits - from.ReadUnits, WriteUnits: m.WriteUnits - from.WriteUnits, KMSCalls: m.KMSCalls - from.KMSCalls,
		}
		t.Log("one rotation:", m.table(rotations))
		checkBytes(t, "RotationBytes", cost.RotationBytes, (f.sizeOf(kindLine+"rotator\x00")-log)/rotations)
		check(t, "PerRotation", cost.PerRotation, cost.Operations{
			ReadUnits:  (all.ReadUnits - float64(looks)) / rotations, // a listing takes at least one
			WriteUnits: all.WriteUnits / rotations,
			KMSCalls:   all.KMSCalls / rotations,
		})
		if all.WriteUnits/rotations > 25 {
			t.Errorf("a rotation costs %.1f write units, want 25 at most", all.WriteUnits/rotations)
		}
		// An entry is one write unit, and as much of a listing, four of which are a read unit.
		if kB := size(f.items["entry\x00ann"]) / 1024; kB > 1 || kB < 0.5 {
			t.Errorf("an entry is %.2f kB, cost.PerLook counts %g read units for it", kB, cost.PerLook.ReadUnits)
		}
		// The API is another process, with a memory of its own.
		api := &Store{API: st.API, Table: "t", Sealer: sealer()}
		began := &Audit{API: api.API, Table: "t", Sealer: api.Sealer, Chain: "api"} // with the stack
		if err := began.Append(ctx, rotate.Event{Action: "begin"}); err != nil {
			t.Fatal(err)
		}
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: api, Peek: api.Peek, Audit: &Audit{API: api.API, Table: "t", Sealer: api.Sealer, Chain: "api"}, Handouts: api}
		given, last := cost.Operations{}, ""
		const handouts = 20
		for range handouts {
			from := m.Operations
			m.what = nil
			if _, err := d.Give(ctx, "ann", rotate.Recipient{Caller: "c"}); err != nil {
				t.Fatal(err)
			}
			given.ReadUnits += (m.ReadUnits - from.ReadUnits) / handouts
			given.WriteUnits += (m.WriteUnits - from.WriteUnits) / handouts
			given.KMSCalls += (m.KMSCalls - from.KMSCalls) / handouts
			last = m.table(1)
			for range 10 {
				pass()
			}
		}
		t.Log("one hand-out:", last)
		check(t, "PerHandout", cost.PerHandout, given)
		checkBytes(t, "HandoutBytes", cost.HandoutBytes, f.sizeOf(kindLine+"api\x00")/handouts)
		checkBytes(t, "HistoryBytes", cost.HistoryBytes, f.sizeOf(kindHandout)/handouts)
		for range 4 { // into an interval
			pass()
		}
		poll(t, m, api, d)
	})
}

// poll counts requests of an agent that holds the key already: 304.
func poll(t *testing.T, m *meter, api *Store, d *rotate.Dispenser) {
	t.Helper()
	keys := &auth.Keys{Settings: api.Loosely()}
	secret, _, err := keys.Create(t.Context(), auth.Key{Users: []string{"*"}, Role: auth.Reader})
	if err != nil {
		t.Fatal(err)
	}
	holds := rotate.Recipient{Caller: "c", Holds: func(rotate.Credential) bool { return true }}
	ask := func() {
		time.Sleep(2 * time.Second)
		if _, err := keys.Check(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Give(t.Context(), "ann", holds); err != nil {
			t.Fatal(err)
		}
	}
	ask() // writes down that the key is used
	m.what = nil
	from := m.Operations
	const polls = 5
	for range polls {
		ask()
	}
	t.Log("one question of an agent:", m.table(polls))
	check(t, "PerPoll", cost.PerPoll, cost.Operations{
		ReadUnits: (m.ReadUnits - from.ReadUnits) / polls, WriteUnits: (m.WriteUnits - from.WriteUnits) / polls,
		KMSCalls: (m.KMSCalls - from.KMSCalls) / polls,
	})
}

func check(t *testing.T, name string, want, got cost.Operations) {
	t.Helper()
	near := func(a, b float64) bool { return math.Abs(a-b) <= 0.05 }
	if !near(want.ReadUnits, got.ReadUnits) || !near(want.WriteUnits, got.WriteUnits) || !near(want.KMSCalls, got.KMSCalls) {
		t.Errorf("cost.%s is %+v, counted were %+v", name, want, got)
	}
}

// sizeOf returns what the items whose key begins so take of the table, with the
// 100 bytes that DynamoDB adds to each.
func (f *fake) sizeOf(prefix string) (n float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, it := range f.items {
		if strings.HasPrefix(k, prefix) {
			n += size(it) + 100
		}
	}
	return n
}

func checkBytes(t *testing.T, name string, want, got float64) {
	t.Helper()
	if math.Abs(want-got) > want/20 {
		t.Errorf("cost.%s is %.0f, counted were %.0f", name, want, got)
	}
}
