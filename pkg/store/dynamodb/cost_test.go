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
		from, log := m.Operations, f.logSize("rotator")
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
		checkBytes(t, "RotationBytes", cost.RotationBytes, (f.logSize("rotator")-log)/rotations)
		check(t, "PerRotation", cost.PerRotation, cost.Operations{
			ReadUnits:  (all.ReadUnits - float64(looks)*cost.PerLook.ReadUnits) / rotations,
			WriteUnits: all.WriteUnits / rotations,
			KMSCalls:   all.KMSCalls / rotations,
		})
		// The API is another process, with a memory of its own.
		api := &Store{API: st.API, Table: "t", Sealer: sealer()}
		began := &Audit{API: api.API, Table: "t", Sealer: api.Sealer, Chain: "api"} // with the stack
		if err := began.Append(ctx, rotate.Event{Action: "begin"}); err != nil {
			t.Fatal(err)
		}
		d := &rotate.Dispenser{Clock: rotatetest.Clock(), Store: api, Audit: &Audit{API: api.API, Table: "t", Sealer: api.Sealer, Chain: "api"}, Handouts: api}
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
		checkBytes(t, "HandoutBytes", cost.HandoutBytes, f.logSize("api")/handouts)
	})
}

func check(t *testing.T, name string, want, got cost.Operations) {
	t.Helper()
	near := func(a, b float64) bool { return math.Abs(a-b) <= 0.05 }
	if !near(want.ReadUnits, got.ReadUnits) || !near(want.WriteUnits, got.WriteUnits) || !near(want.KMSCalls, got.KMSCalls) {
		t.Errorf("cost.%s is %+v, counted were %+v", name, want, got)
	}
}

// logSize returns what the chain's blocks take of the table, with the 100 bytes
// that DynamoDB adds to each item.
func (f *fake) logSize(chain string) (n float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, it := range f.items {
		if strings.HasPrefix(k, kindLine+chain+"\x00") {
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
