package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func client(url string) *iam.Client {
	return iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("AKIAOPERATOR", "s", ""),
	})
}

// floor makes the three calls of a rotation for each user, by so many workers.
func floor(ctx context.Context, url string, users, workers int) (time.Duration, error) {
	c := client(url)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	names := make(chan string)
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for name := range names {
				if err := threeCalls(ctx, c, name); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	for i := range users {
		names <- fmt.Sprintf("user-%05d", i)
	}
	close(names)
	wg.Wait()
	return time.Since(start), first
}

func threeCalls(ctx context.Context, c *iam.Client, name string) error {
	out, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		return err
	}
	id := out.AccessKey.AccessKeyId
	off := &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: id, Status: types.StatusTypeInactive}
	if _, err := c.UpdateAccessKey(ctx, off); err != nil {
		return err
	}
	_, err = c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: id})
	return err
}

const (
	looksSample = 1500 // users whose keys are listed to learn what that costs
	readsPace   = 50   // reads a second by default
)

// looks lists the keys of so many users at keyrot's pace, one after the other.
func looks(ctx context.Context, url string, users int) error {
	c := client(url)
	t := time.NewTicker(time.Second / readsPace)
	defer t.Stop()
	for i := range users {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		name := fmt.Sprintf("user-%05d", i)
		if _, err := c.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &name}); err != nil {
			return err
		}
	}
	return nil
}

// lookCost is the processor time that the SDK takes for one look, in a process of
// its own as keyrot is, less what starting it takes.
func lookCost(ctx context.Context, url string) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	var took [2]time.Duration
	for i, n := range []int{1, looksSample + 1} {
		cmd := exec.CommandContext(ctx, self, "-looks", strconv.Itoa(n), "-iam", url) // #nosec G204 -- this program
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return 0, err
		}
		took[i] = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return (took[1] - took[0]) / looksSample, nil
}
