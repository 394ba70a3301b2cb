package publish

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/keyrot/keyrot/internal/awscall"
	"github.com/keyrot/keyrot/internal/disk"
	"github.com/keyrot/keyrot/internal/webhook"
	"github.com/keyrot/keyrot/pkg/rotate"
)

// Reachable is a target that can be tried before there is a pair for it. Every
// target of this package is one.
type Reachable interface {
	// Reach reports what would keep a pair of the user from getting there, as far
	// as that can be seen without writing anything that is read.
	Reach(ctx context.Context, user string) error
}

var _ = []Reachable{(*File)(nil), (*Hook)(nil), (*Webhook)(nil), (*SecretsManager)(nil), (*SSM)(nil), Only{}}

// Reach implements [Reachable]: nothing for users that the target is not for.
func (o Only) Reach(ctx context.Context, user string) error {
	to, ok := o.To.(Reachable)
	if o.Users != nil && !o.includes(user) || !ok {
		return nil
	}
	return to.Reach(ctx, user)
}

// Reach implements [Reachable]: the folder must be there, safe, and writable, or
// the file in place; readers must see what is written.
func (f *File) Reach(_ context.Context, user string) error {
	path, err := named(f.Path, rotate.Credential{User: user})
	if err != nil {
		return err
	}
	uid, _, err := owner(f.Owner)
	if err != nil {
		return err
	}
	var also []int
	if uid >= 0 {
		also = []int{uid}
	}
	dir, err := disk.OpenDir(filepath.Dir(path), false, also...)
	if err != nil {
		return err
	}
	if f.InPlace {
		err = disk.Overwritable(dir, filepath.Base(path), uid)
	} else {
		err = errors.Join(disk.Writable(dir), replaceable(dir, path))
	}
	return errors.Join(err, dir.Close())
}

// Reach implements [Reachable]: the program must be there.
func (h *Hook) Reach(context.Context, string) error {
	if len(h.Argv) == 0 {
		return errors.New("no program is named")
	}
	_, err := exec.LookPath(h.Argv[0])
	return err
}

// Reach implements [Reachable]: somebody must answer there, whose certificate is
// trusted. Nothing is posted.
func (w *Webhook) Reach(ctx context.Context, _ string) error { return webhook.Reach(ctx, w.URL) }

// Reach implements [Reachable]: every secret must be there and readable, and its
// value be one that the pair can be merged into.
func (s *SecretsManager) Reach(ctx context.Context, user string) error {
	var errs []error
	for _, n := range s.Secrets {
		name, err := named(n, rotate.Credential{User: user})
		if err != nil {
			return err
		}
		var out smValue
		err = s.service().JSON(ctx, "secretsmanager.GetSecretValue", map[string]string{"SecretId": name, "VersionStage": "AWSCURRENT"}, &out)
		if err != nil && !noValueYet(err) {
			errs = append(errs, fmt.Errorf("reading secret %s: %w", name, s.explained(name, err)))
		}
	}
	return errors.Join(errs...)
}

// Reach implements [Reachable]: the parameter must be readable, or not there yet.
func (s *SSM) Reach(ctx context.Context, user string) error {
	name, err := named(s.Parameter, rotate.Credential{User: user})
	if err != nil {
		return err
	}
	service := awscall.Service{Config: s.AWS, ID: "SSM", Host: "ssm", Now: s.Now}
	err = service.JSON(ctx, "AmazonSSM.GetParameter", map[string]any{"Name": name}, &struct{}{})
	if err != nil && awscall.Code(err) != "ParameterNotFound" {
		return fmt.Errorf("reading parameter %s: %w", name, err)
	}
	return nil
}

// noValueYet reports whether the secret is there and has no value. The code is that
// of a secret that is not there, so AWS's words decide.
func noValueYet(err error) bool {
	e, ok := errors.AsType[*awscall.Error](err)
	return ok && e.Code == "ResourceNotFoundException" && strings.Contains(e.Message, "staging label")
}
