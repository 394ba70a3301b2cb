package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/rotate/rotatetest"
)

// denying is an IAM that refuses some calls.
type denying struct {
	*rotatetest.AWS
	update bool
}

func (d denying) SetStatus(ctx context.Context, user, id string, s plan.Status) error {
	if d.update {
		return rotate.ErrDenied
	}
	return d.AWS.SetStatus(ctx, user, id, s)
}

func TestExamine(t *testing.T) {
	t.Parallel()
	now := time.Now()
	healthy := func() (*rotatetest.AWS, Patient) {
		aws := &rotatetest.AWS{}
		aws.AddUser("ci", "/", nil)
		return aws, Patient{
			IAM: denying{AWS: aws}, Tick: time.Second, Refresh: 30 * time.Second, Clock: rotatetest.Clock(), Now: time.Now,
			Policy:   func(string) plan.Policy { return plan.Policy{} },
			Select:   func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
			Entries:  func(context.Context) ([]rotate.Entry, error) { return nil, nil },
			Simulate: func(context.Context, rotate.User) (Simulation, error) { return Simulation{SessionsGuard: true}, nil },
			Mail:     func(context.Context) (string, error) { return "production access", nil },
			Callers:  func(context.Context) []Caller { return []Caller{{Name: "k8s", Text: "3 keys"}} },
		}
	}
	tests := []struct {
		name   string
		spoil  func(*rotatetest.AWS, *Patient)
		check  string
		status Status
		text   string
	}{
		{"all is well", func(*rotatetest.AWS, *Patient) {}, "permissions", OK, "CreateAccessKey included"},
		{"an impossible schedule", func(_ *rotatetest.AWS, p *Patient) {
			p.Policy = func(string) plan.Policy {
				return plan.Policy{RotateEvery: 6 * time.Minute, DeactivateAfter: 12 * time.Minute, DeleteAfter: 15 * time.Minute}
			}
		}, "schedule", Fail, "2 x rotate_every"},
		{"slow consumers", func(_ *rotatetest.AWS, p *Patient) { p.Refresh = 5 * time.Minute }, "consumers", Fail, "ask every 5m"},
		{"unknown consumers", func(_ *rotatetest.AWS, p *Patient) { p.Refresh = 0 }, "consumers", Warn, "not declared"},
		{"nobody selected", func(_ *rotatetest.AWS, p *Patient) {
			p.Select = func(context.Context) ([]rotate.User, error) { return nil, rotate.ErrNoUsers }
		}, "selection", Fail, "nobody is rotated"},
		{"an unreadable selection", func(_ *rotatetest.AWS, p *Patient) {
			p.Select = func(context.Context) ([]rotate.User, error) { return nil, rotate.ErrDenied }
		}, "selection", Fail, "cannot be read"},
		{"a setting that matches nobody", func(_ *rotatetest.AWS, p *Patient) {
			p.Unmatched = func() []string { return []string{`users.exclude: "eva" matches no user`} }
		}, "selection", Warn, "eva"},
		{"a clock that is off", func(a *rotatetest.AWS, p *Patient) {
			p.Clock = rotatetest.ClockAt(func() time.Time { return time.Now().Add(time.Hour) })
			p.Clock.Settle(t.Context())
		}, "clock", Warn, "away from"},
		{"a foreign key", func(a *rotatetest.AWS, _ *Patient) { _, _ = a.Plant("ci") }, "foreign keys", Warn, "user ci has key"},
		{"a held key of a user that was renamed", func(a *rotatetest.AWS, p *Patient) {
			id, _ := a.Plant("ci")
			a.RenameUser("ci", "ci-new")
			p.Entries = func(context.Context) ([]rotate.Entry, error) {
				return []rotate.Entry{{Record: plan.Record{User: "ci", Keys: []plan.Held{{ID: id, Stage: plan.Current}}}}}, nil
			}
		}, "foreign keys", OK, "none"},
		{"a restored table", table(Table{Name: "t", Backups: true}), "table", Warn, "time to live is off"},
		{"a table without backups", table(Table{Name: "t", TTL: true}), "table", Warn, "no point-in-time backups"},
		{"a global table", table(Table{Name: "t", Global: errors.New("it has replicas")}), "table", Fail, "it has replicas"},
		{"a table that cannot be looked at", table(Table{Name: "t", Err: errors.New("denied")}), "table", Warn, "denied"},
		{"a table as deployed", table(Table{Name: "t", TTL: true, Backups: true}), "table", OK, "no replicas"},
		{"a missing permission", func(a *rotatetest.AWS, p *Patient) { p.IAM = denying{AWS: a, update: true} }, "permissions", Fail, "iam:UpdateAccessKey"},
		{"no guard against sessions", func(_ *rotatetest.AWS, p *Patient) {
			p.Simulate = func(context.Context, rotate.User) (Simulation, error) { return Simulation{}, nil }
		}, "session guard", Warn, "36 hours"},
		{"an overdue user", func(_ *rotatetest.AWS, p *Patient) {
			p.Entries = func(context.Context) ([]rotate.Entry, error) {
				return []rotate.Entry{{Record: plan.Record{User: "ci", Enrolled: now.Add(-time.Hour), Waiting: plan.NoRoom}}}, nil
			}
		}, "overdue", Fail, "no_room"},
		{"fewer rotations than are needed", func(_ *rotatetest.AWS, p *Patient) {
			p.Capacity = func(users []string) plan.Capacity {
				return plan.Load{Users: 100 * len(users), Every: 10 * time.Minute, Creates: 0.1}.Capacity()
			}
		}, "capacity", Fail, "40 users will be overdue"},
		{"enough rotations", func(_ *rotatetest.AWS, p *Patient) {
			p.Capacity = func(users []string) plan.Capacity {
				return plan.Load{Users: len(users), Every: 10 * time.Minute, Creates: 10}.Capacity()
			}
		}, "capacity", OK, "7.5 can be relied on"},
		{"callers without an API key", func(*rotatetest.AWS, *Patient) {}, "identities", OK, "k8s: 3 keys"},
		{"an issuer that is down", func(_ *rotatetest.AWS, p *Patient) {
			p.Callers = func(context.Context) []Caller { return []Caller{{Name: "k8s", Err: errors.New("no route")}} }
		}, "identities", Fail, "k8s: no route"},
		{"mail that cannot be sent", func(_ *rotatetest.AWS, p *Patient) {
			p.Mail = func(context.Context) (string, error) { return "", errors.New("SES is in the sandbox") }
		}, "mail", Warn, "sandbox"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			aws, p := healthy()
			tt.spoil(aws, &p)
			for _, f := range Examine(t.Context(), p) {
				if f.Check == tt.check && f.Status == tt.status && strings.Contains(f.Text, tt.text) {
					if f.Status == Fail && f.Fix == "" {
						t.Errorf("%q has no fix", f.Text)
					}
					return
				}
			}
			t.Errorf("Examine() found no %s of %s with %q in %+v", tt.status, tt.check, tt.text, Examine(t.Context(), p))
		})
	}
}

func table(found Table) func(*rotatetest.AWS, *Patient) {
	return func(_ *rotatetest.AWS, p *Patient) { p.Table = func(context.Context) Table { return found } }
}

func TestExamineChangesNothing(t *testing.T) {
	t.Parallel()
	aws := &rotatetest.AWS{}
	aws.AddUser("ci", "/", nil)
	id, err := aws.Plant("ci")
	if err != nil {
		t.Fatal(err)
	}
	Examine(t.Context(), Patient{
		IAM: aws, Select: func(context.Context) ([]rotate.User, error) { return aws.Users(), nil },
		Policy: func(string) plan.Policy { return plan.Policy{} }, Clock: rotatetest.Clock(), Now: time.Now,
	})
	if keys := aws.Truth("ci"); len(keys) != 1 || keys[0].ID != id || keys[0].Status != plan.Active {
		t.Errorf("after Examine() the user has %+v, want the one active key from before", keys)
	}
}
