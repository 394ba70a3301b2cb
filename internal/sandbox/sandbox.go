//go:build !nosandbox

package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/versity/versitygw/iamapi"
	"github.com/versity/versitygw/iamapi/storage"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
)

// Start starts IAM, STS and S3 on free loopback ports and creates the users.
// They run until Close; ctx bounds the start only.
func Start(ctx context.Context, o Options) (*AWS, error) {
	dir, err := os.MkdirTemp(o.Dir, "keyrot-sandbox-")
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	a := &AWS{
		RootCredentials: aws.Credentials{
			AccessKeyID:     "AKIA" + rand.Text()[:16],
			SecretAccessKey: rand.Text() + rand.Text()[:14],
			Source:          "sandbox",
		},
		stop: func() error { return os.RemoveAll(dir) },
	}
	if err := a.start(ctx, dir, o.Users); err != nil {
		return nil, fmt.Errorf("sandbox: %w", errors.Join(err, a.stop()))
	}
	return a, nil
}

func (a *AWS) start(ctx context.Context, dir string, users []string) error {
	store, err := storage.NewInternal(dir)
	if err != nil {
		return fmt.Errorf("opening the IAM state: %w", err)
	}
	if a.iam, err = a.listen(ctx, false, func(ready func()) (server, error) {
		return newIAM(store, a.RootCredentials, ready)
	}); err != nil {
		return fmt.Errorf("starting IAM: %w", err)
	}
	if a.s3, err = a.listen(ctx, true, func(ready func()) (server, error) {
		return newS3(store, a.RootCredentials, ready)
	}); err != nil {
		return fmt.Errorf("starting S3: %w", err)
	}
	cfg, err := a.Config(ctx)
	if err != nil {
		return err
	}
	client := iam.NewFromConfig(cfg)
	for _, name := range users {
		_, err := client.CreateUser(ctx, &iam.CreateUserInput{
			UserName: aws.String(name),
			Tags:     []types.Tag{{Key: aws.String(ManagedTag), Value: aws.String("true")}},
		})
		if err != nil {
			return fmt.Errorf("creating user %q: %w", name, err)
		}
	}
	return nil
}

// server is what versitygw's two servers have in common. It cannot be told to
// use a listener that is open already.
type server struct {
	serve    func(addrs []string) error
	shutdown func() error
}

func newIAM(store storage.Storer, root aws.Credentials, ready func()) (server, error) {
	s, err := iamapi.New(store,
		iamapi.RootCredentials{Access: root.AccessKeyID, Secret: root.SecretAccessKey},
		iamapi.WithQuiet(), iamapi.WithKeepAlive(), iamapi.WithOIDCThumbprintAutoFetchDisabled(),
		iamapi.WithConcurrencyLimiter(maxConnections, maxConnections), iamapi.WithOnListen(ready))
	if err != nil {
		return server{}, err
	}
	return server{s.ServeMultiPort, s.Shutdown}, nil
}

func newS3(store storage.Storer, root aws.Credentials, ready func()) (server, error) {
	s, err := s3api.New(newBucket(), middlewares.RootUserConfig{Access: root.AccessKeyID, Secret: root.SecretAccessKey},
		Region, gate{store: store}, nil, nil, nil, nil,
		s3api.WithQuiet(), s3api.WithKeepAlive(),
		s3api.WithConcurrencyLimiter(maxConnections, maxConnections), s3api.WithOnListen(ready))
	if err != nil {
		return server{}, err
	}
	return server{s.ServeMultiPort, s.ShutDown}, nil
}

const (
	maxConnections = 1000
	listenAttempts = 5
)

// listen runs a server on a free port and returns the URL of its front. The port is found
// by listening on it first; should another process snatch it in between, the
// next one is tried.
func (a *AWS) listen(ctx context.Context, s3 bool, build func(ready func()) (server, error)) (string, error) {
	var errs []error
	for range listenAttempts {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		addr, err := freeAddr(ctx)
		if err != nil {
			return "", err
		}
		err = a.run(addr, build)
		if err == nil {
			return a.front(ctx, "http://"+addr, s3)
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// run starts one server and returns when it listens or has failed.
func (a *AWS) run(addr string, build func(ready func()) (server, error)) error {
	ready := make(chan struct{})
	s, err := build(func() { close(ready) })
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- s.serve([]string{addr}) }()
	// One of the two comes at once, and a server cannot be shut down before it
	// is ready: no watching of the context here.
	select {
	case err := <-done:
		return err
	case <-ready:
	}
	if err := answers(addr, done); err != nil {
		return err
	}
	before := a.stop
	a.stop = func() error {
		err := s.shutdown()
		<-done // that the listener is closed, which is no news
		return errors.Join(err, before())
	}
	return nil
}

// answers returns once the server has answered, or has ended with an error. It says
// that it is ready a little before it can be shut down: if it were then, it would
// serve for ever.
func answers(addr string, done <-chan error) error {
	t := &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: time.Second} // no client: it would follow where IAM sends people
	for {
		req, err := http.NewRequest(http.MethodHead, "http://"+addr, nil) //nolint:noctx // bounded
		if err != nil {
			return err
		}
		res, err := t.RoundTrip(req)
		if err == nil {
			return res.Body.Close()
		}
		select {
		case err := <-done:
			return err
		case <-time.After(time.Millisecond):
		}
	}
}

func freeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
