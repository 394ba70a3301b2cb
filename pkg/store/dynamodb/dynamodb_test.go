package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"

	"github.com/keyrot/keyrot/internal/hint"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/content"
)

var now = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func sealer(t *testing.T) seal.Sealer {
	t.Helper()
	l, err := seal.NewLocal(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func store(t *testing.T, f *fake) *Store {
	t.Helper()
	return &Store{API: f.api(), Table: "keyrot", Sealer: sealer(t), PageSize: 2}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	rotatetest.TestStore(t, func(t *testing.T) rotate.Store { return store(t, newFake()) })
	rotatetest.TestSettings(t, func(t *testing.T) rotate.Settings { return store(t, newFake()) })
	rotatetest.TestHandouts(t, func(t *testing.T) rotate.Handouts { return store(t, newFake()) })
}

func entry(user string) rotate.Entry {
	return rotate.Entry{
		Record:  plan.Record{User: user, UserID: "AIDA" + user, ARN: "arn:aws:iam::1:user/" + user},
		Secrets: map[string]rotate.Secret{"AKIA1": rotate.NewSecret("secret of " + user)},
		Due:     now,
	}
}

// The SDK repeats a request whose answer was lost; the repetition then fails
// its own condition. A save that took effect must not be reported as lost:
// the secret in it would be thrown away.
func TestRepeatedSaveIsNoConflict(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := store(t, f)
	s.API.UpdateItem = func(ctx context.Context, in *ddb.UpdateItemInput, o ...func(*ddb.Options)) (*ddb.UpdateItemOutput, error) {
		if _, err := f.update(ctx, in, o...); err != nil {
			return nil, err
		}
		return f.update(ctx, in, o...)
	}
	e := entry("ann")
	v, err := s.Save(t.Context(), e)
	if err != nil {
		t.Fatalf("Save = %v", err)
	}
	got, err := s.Load(t.Context(), "ann")
	if err != nil || got.Version != v || got.Secrets["AKIA1"].Reveal() != "secret of ann" {
		t.Errorf("Load = version %d, %v, want %d", got.Version, err, v)
	}
	if _, err := s.Save(t.Context(), e); !errors.Is(err, rotate.ErrConflict) {
		t.Errorf("Save of an old version = %v, want %v", err, rotate.ErrConflict)
	}
}

// The same goes for a deletion, which finds nothing to delete then.
func TestRepeatedDeletionIsNoConflict(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := store(t, f)
	v, err := s.Save(t.Context(), rotate.Entry{Record: plan.Record{User: "ann"}})
	if err != nil {
		t.Fatal(err)
	}
	vs, err := s.SaveSetting(t.Context(), "a", []byte("x"), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.API.DeleteItem = func(ctx context.Context, in *ddb.DeleteItemInput, _ ...func(*ddb.Options)) (*ddb.DeleteItemOutput, error) {
		if _, err := f.delete(ctx, in); err != nil {
			return nil, err
		}
		return f.delete(ctx, in)
	}
	s.API.UpdateItem = func(ctx context.Context, in *ddb.UpdateItemInput, _ ...func(*ddb.Options)) (*ddb.UpdateItemOutput, error) {
		if _, err := f.update(ctx, in); err != nil {
			return nil, err
		}
		return f.update(ctx, in)
	}
	if err := s.Remove(t.Context(), "ann", v); err != nil {
		t.Errorf("Remove whose answer was lost = %v", err)
	}
	if _, err := s.SaveSetting(t.Context(), "a", nil, vs); err != nil {
		t.Errorf("SaveSetting(nil) whose answer was lost = %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	down := &smithy.GenericAPIError{Code: "InternalServerError"}
	for _, c := range []struct {
		code string
		want error
		hint bool
	}{
		{"ResourceNotFoundException", ErrNoTable, true},
		{"AccessDeniedException", ErrAccess, true},
		{"ThrottlingException", ErrBusy, true},
		{"ProvisionedThroughputExceededException", ErrBusy, true},
		{"InternalServerError", down, false},
	} {
		f := newFake()
		s := store(t, f)
		var cause error = &smithy.GenericAPIError{Code: c.code}
		if errors.Is(c.want, down) {
			cause = down
		}
		api := API{
			GetItem: func(context.Context, *ddb.GetItemInput, ...func(*ddb.Options)) (*ddb.GetItemOutput, error) {
				return nil, cause
			},
			Query: func(context.Context, *ddb.QueryInput, ...func(*ddb.Options)) (*ddb.QueryOutput, error) {
				return nil, cause
			},
		}
		f.fault = func(string, bool) error { return cause }
		s.API.GetItem, s.API.Query = api.GetItem, api.Query
		ctx := t.Context()
		_, saved := s.Save(ctx, entry("ann"))
		_, loaded := s.Load(ctx, "ann")
		_, acquired := s.Acquire(ctx, "ann", "p", now, time.Minute)
		_, listed := s.List(ctx)
		_, due := s.Due(ctx, now, false, 1)
		_, _, set := s.Setting(ctx, "a")
		_, saveSet := s.SaveSetting(ctx, "a", []byte{1}, 0)
		_, named := s.SettingNames(ctx, "")
		_, holders := s.Holders(ctx, "ann", "K")
		_, who := s.WhoHas(ctx, "K")
		_, chains := s.Chains(ctx)
		for i, err := range []error{
			saved, loaded, listed, due, set, saveSet, named, holders, who, chains,
			s.Remove(ctx, "ann", 1), acquired, s.Release(ctx, "ann", "p"),
			s.RecordHandout(ctx, "ci", "ann", "K", "", now), s.Ping(ctx),
		} {
			if !errors.Is(err, c.want) || (hint.Of(err) != "") != c.hint {
				t.Errorf("%s, call %d: %v (hint %q), want %v", c.code, i, err, hint.Of(err), c.want)
			}
		}
	}
}

// What a table's writer without the key can do is refused.
func TestMovedContent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(f *fake, ann, bob item)
		want   error
	}{
		"another user's secrets": {func(_ *fake, ann, bob item) { ann[attrSealed] = bob[attrSealed] }, seal.ErrWrongKey},
		"another user's record":  {func(_ *fake, ann, bob item) { ann[attrRecord] = bob[attrRecord] }, content.ErrCorrupt},
		"another user id": {func(_ *fake, ann, _ item) {
			ann[attrRecord] = text(strings.ReplaceAll(ann.text(attrRecord), "AIDAann", "AIDAeve"))
		}, seal.ErrWrongKey},
		"spoilt secrets":    {func(_ *fake, ann, _ item) { ann[attrSealed] = text("x") }, content.ErrCorrupt},
		"no record at all":  {func(_ *fake, ann, _ item) { delete(ann, attrRecord) }, content.ErrCorrupt},
		"the wrong KMS key": {func(_ *fake, ann, _ item) { ann[attrSealed] = blob([]byte{1, 0}) }, seal.ErrWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			s := store(t, f)
			for _, user := range []string{"ann", "bob"} {
				if _, err := s.Save(t.Context(), entry(user)); err != nil {
					t.Fatal(err)
				}
			}
			c.change(f, f.items["entry\x00ann"], f.items["entry\x00bob"])
			e, err := s.Load(t.Context(), "ann")
			if !errors.Is(err, c.want) || e.Secrets != nil || hint.Of(err) == "" {
				t.Errorf("Load = %v (hint %q), want %v", err, hint.Of(err), c.want)
			}
			if all, err := s.List(t.Context()); err != nil || len(all) != 2 || all[0].Record.User != "ann" || all[1].Record.User != "bob" {
				t.Errorf("List = %+v, %v, want both users", all, err)
			}
		})
	}
}

// Secrets as earlier versions wrote them are read, and written anew.
func TestSecretsOfEarlierVersions(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := store(t, f)
	e := entry("ann")
	var err error
	if e.Version, err = s.Save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	old, err := content.SealSecrets(t.Context(), s.Sealer, e)
	if err != nil {
		t.Fatal(err)
	}
	it := f.items["entry\x00ann"]
	delete(it, attrSealed)
	it[attrSecrets] = blob(old)
	got, err := s.Load(t.Context(), "ann")
	if err != nil || got.Secrets["AKIA1"].Reveal() != "secret of ann" {
		t.Fatalf("Load = %v, %v", got.Secrets, err)
	}
	if _, err := s.Save(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if it := f.items["entry\x00ann"]; it[attrSealed] == nil || it[attrSecrets] != nil {
		t.Error("the secrets were not written anew")
	}
	if got, err := s.Load(t.Context(), "ann"); err != nil || got.Secrets["AKIA1"].Reveal() != "secret of ann" {
		t.Errorf("Load = %v, %v", got.Secrets, err)
	}
}

func TestWithoutKey(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := store(t, f)
	if _, err := s.Save(t.Context(), entry("ann")); err != nil {
		t.Fatal(err)
	}
	s.Sealer = nil
	if _, err := s.Load(t.Context(), "ann"); !errors.Is(err, seal.ErrKeyMissing) {
		t.Errorf("Load = %v, want %v", err, seal.ErrKeyMissing)
	}
	if _, err := s.Save(t.Context(), entry("bob")); !errors.Is(err, seal.ErrKeyMissing) {
		t.Errorf("Save = %v, want %v", err, seal.ErrKeyMissing)
	}
	if l, err := s.List(t.Context()); err != nil || len(l) != 1 {
		t.Errorf("List = %v, %v, want one entry", l, err)
	}
	if due, err := s.Due(t.Context(), now, false, 5); err != nil || !slices.Equal(due, []string{"ann"}) {
		t.Errorf("Due = %v, %v, want [ann]", due, err)
	}
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := store(t, f)
	ctx := t.Context()
	if err := s.RecordHandout(ctx, "ci", "ann", "K1", "a", now); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"ann", "bob"} {
		if _, err := s.Acquire(ctx, user, "p", now, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Save(ctx, entry("ann")); err != nil { // in the item of the lease
		t.Fatal(err)
	}
	for at, want := range map[string]time.Time{
		"handout#K1\x00ann#ci": now.Add(defaultKeep),
		"entry\x00bob":         now.Add(time.Minute + goneLinger),
		"holder#ann\x00ci":     {},
		"entry\x00ann":         {},
	} {
		it, ok := f.items[at]
		if got := it.number(attrExpires); !ok || got != max(0, want.Unix()) {
			t.Errorf("%q expires at %d, want %d", at, got, max(0, want.Unix()))
		}
	}
}

func TestHandoutRepetitions(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := store(t, f)
	writes := 0
	f.fault = func(string, bool) error { writes++; return nil }
	for i := range 5 {
		if err := s.RecordHandout(t.Context(), "ci", "ann", "K1", "a", now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if writes != 4 {
		t.Errorf("five hand-outs in 5 s were written with %d calls' faults, want 4", writes)
	}
	// A failure is not remembered as recorded.
	down := errors.New("down")
	f.fault = once(t, "UpdateItem", 2, false, down)
	if err := s.RecordHandout(t.Context(), "ci", "ann", "K2", "a", now.Add(time.Minute)); !errors.Is(err, down) {
		t.Errorf("RecordHandout = %v, want %v", err, down)
	}
	if err := s.RecordHandout(t.Context(), "ci", "ann", "K2", "a", now.Add(time.Minute)); err != nil {
		t.Errorf("RecordHandout again = %v", err)
	}
	if h, err := s.Holders(t.Context(), "ann", "K2"); err != nil || !slices.Equal(h, []string{"ci"}) {
		t.Errorf("Holders = %v, %v, want [ci]", h, err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := store(t, newFake())
	var want []string
	for i := range 7 {
		user := fmt.Sprintf("u%d", i)
		want = append(want, user)
		if _, err := s.Save(t.Context(), entry(user)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	list, err := s.List(t.Context())
	for _, e := range list {
		got = append(got, e.Record.User)
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("List = %v, %v, want %v", got, err, want)
	}
	if due, err := s.Due(t.Context(), now, false, 5); err != nil || !slices.Equal(due, want[:5]) {
		t.Errorf("Due = %v, %v, want %v", due, err, want[:5])
	}
	if due, err := s.Due(t.Context(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), false, 100); err != nil || !slices.Equal(due, want) {
		t.Errorf("Due at the end of time = %v, %v, want %v", due, err, want)
	}
}

func TestNewAPI(t *testing.T) {
	t.Parallel()
	api := NewAPI(aws.Config{Region: "us-east-1"})
	if api.GetItem == nil || api.PutItem == nil || api.UpdateItem == nil || api.DeleteItem == nil ||
		api.Query == nil {
		t.Error("a func is missing")
	}
	if s := Schema("t"); *s.TableName != "t" || len(s.KeySchema) != 2 {
		t.Errorf("Schema = %+v", s)
	}
}
