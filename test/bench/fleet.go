package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyrot/keyrot/pkg/auth"
	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/rotate/plan"
	"github.com/keyrot/keyrot/pkg/seal"
	"github.com/keyrot/keyrot/pkg/store/sqlite"
	"github.com/keyrot/keyrot/test/bench/cloud"
)

// fleet is a folder with a store of users that have keys already, the IAM that
// has those keys, and the callers that may have them.
type fleet struct {
	aws      *cloud.Cloud
	dir, iam string
	users    []string
	callers  []string // their API keys; each asks for its own users
	end      func()
}

func newFleet(ctx context.Context, users, callers int) (_ *fleet, err error) {
	aws := cloud.New(users)
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: aws, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }() // until it is closed
	dir, err := os.MkdirTemp("", "bench-")
	f := &fleet{aws: aws, dir: dir, iam: "http://" + ln.Addr().String(), users: aws.Names()}
	f.end = func() { _ = errors.Join(srv.Close(), os.RemoveAll(dir)) }
	if err == nil {
		err = f.fill(ctx, callers)
	}
	if err != nil {
		f.end()
		return nil, err
	}
	return f, nil
}

// quick: few users rotate every 20 s, so that some do while they are asked for.
func (f *fleet) quick() bool { return len(f.users) < many }

// fill enrols the users, each with a key that has just become Current, and lets
// the callers in.
func (f *fleet) fill(ctx context.Context, callers int) error {
	store, err := sqlite.Open(ctx, sqlite.Options{
		Path: filepath.Join(f.dir, "keyrot.db"), Key: seal.KeyFile(filepath.Join(f.dir, "keyrot.key")),
	})
	if err != nil {
		return err
	}
	defer store.Close()
	now := time.Now().UTC().Truncate(time.Second)
	every, lasts := 10*time.Minute, 12*time.Minute
	if f.quick() {
		every, lasts = 20*time.Second, 24*time.Second
	}
	for i, user := range f.users {
		id, secret, err := f.createKey(ctx, user)
		if err != nil {
			return err
		}
		// As if it had always rotated: the users' slots are spread over the interval.
		slot := now.Add(-time.Duration(now.Add(-plan.PhaseOf(user, every)).UnixNano() % int64(every)))
		_, err = store.Save(ctx, rotate.Entry{
			Record: plan.Record{
				User: user, UserID: fmt.Sprintf("AIDA%017d", i), ARN: "arn:aws:iam::123456789012:user/" + user, Enrolled: slot, Slot: slot,
				Keys: []plan.Held{{
					ID: id, Stage: plan.Current, Slot: slot, Created: now, Made: now, Proven: now, Confirmed: now, Promoted: now,
					Promise: slot.Add(lasts),
				}},
			},
			Secrets: map[string]rotate.Secret{id: rotate.NewSecret(secret)},
			Due:     now.Add(time.Second),
		})
		if err != nil {
			return err
		}
	}
	f.aws.Reset()
	keys := &auth.Keys{Settings: store}
	for i := range callers {
		secret, _, err := keys.Create(ctx, auth.Key{Name: fmt.Sprintf("caller %d", i), Users: []string{"*"}, Role: auth.Reader})
		if err != nil {
			return err
		}
		f.callers = append(f.callers, secret)
	}
	return nil
}

func (f *fleet) createKey(ctx context.Context, user string) (id, secret string, err error) {
	form := url.Values{"Action": {"CreateAccessKey"}, "UserName": {user}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.iam, strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	var made struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	err = xml.NewDecoder(res.Body).Decode(&made)
	return made.ID, made.Secret, errors.Join(err, res.Body.Close())
}

// serve starts the binary on the fleet.
func (f *fleet) serve(ctx context.Context, bin, sync, pprof string) (*process, error) {
	env := []string{
		"HOME=" + f.dir, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIAOPERATOR", "AWS_SECRET_ACCESS_KEY=s", "AWS_CONFIG_FILE=/dev/null",
		"AWS_ENDPOINT_URL_IAM=" + f.iam, "AWS_ENDPOINT_URL_STS=" + f.iam,
		"KEYROT_STORE_PATH=" + filepath.Join(f.dir, "keyrot.db"), "KEYROT_USERS_ALL=true", "KEYROT_LOG_LEVEL=error",
		"KEYROT_SERVER_CALLER_RATE=1000000", "KEYROT_SERVER_PPROF=" + pprof, "KEYROT_AUDIT_SYNC=" + sync,
		"KEYROT_IAM_RATE=100", "KEYROT_IAM_BURST=100", "KEYROT_WORKERS=64",
	}
	args := []string{bin, "serve"}
	if f.quick() {
		args = append(args, "--rotate-every", "20s", "--deactivate-after", "24s", "--delete-after", "30s")
		env = append(env, "KEYROT_SETTLE=0s")
	}
	return start(ctx, env, func(addr string) []string { return append(args, "--listen", addr) })
}

// requests gets a token for each caller and returns their requests: each user's
// by one caller, and at least one of each caller.
func (f *fleet) requests(ctx context.Context, p *process) (out [][]byte, err error) {
	tokens := make([]string, len(f.callers))
	for i, key := range f.callers {
		if tokens[i], err = p.token(ctx, key); err != nil {
			return nil, err
		}
	}
	for i := range max(len(f.users), len(f.callers)) {
		c := i % len(f.callers)
		out = append(out, keyrotRequest(p.addr, f.users[i%len(f.users)], f.callers[c], tokens[c]))
	}
	return out, nil
}
