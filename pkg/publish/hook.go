package publish

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/keyrot/keyrot/pkg/rotate"
)

// Hook runs a program with the pair on its standard input, as a JSON object:
// id, user, access_key_id, secret_access_key, created, expiration. Exit code 0
// confirms. The program may be run again for the same pair, and then gets the
// same id. It is given no shell, of the environment only PATH, HOME, LANG and
// TMPDIR, and its output is thrown away: it might hold the secret.
type Hook struct {
	Label   string        // Name; default hook
	Argv    []string      // program and arguments; nothing is expanded
	Timeout time.Duration // then it is killed; default 10 s
	Region  string        // of SES, for the message's SMTP credentials; default none: they are left out
}

const defaultTimeout = 10 * time.Second

// Name implements rotate.Publisher.
func (h *Hook) Name() string { return cmp.Or(h.Label, "hook") }

// Traits implements rotate.Publisher. What a program has done cannot be seen.
func (h *Hook) Traits() rotate.Traits {
	return rotate.Traits{Timeout: cmp.Or(h.Timeout, defaultTimeout) + time.Second, Expires: true} // and a second to end it
}

// Publish implements rotate.Publisher.
func (h *Hook) Publish(ctx context.Context, c rotate.Credential) error {
	if len(h.Argv) == 0 {
		return errors.New("no program is named")
	}
	in, err := messageOf(c, h.Region)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(h.Timeout, defaultTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Argv[0], h.Argv[1:]...) //nolint:gosec // the operator's choice
	cmd.Stdin = bytes.NewReader(in)
	cmd.WaitDelay = time.Second // for what its children hold open
	ownGroup(cmd)
	cmd.Env = []string{}
	for _, name := range []string{"PATH", "HOME", "LANG", "TMPDIR", "SystemRoot"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	err = cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", h.Argv[0], ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", h.Argv[0], err)
	}
	return nil
}
