package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// floor makes the three calls of a rotation for each user, by so many workers.
func floor(ctx context.Context, url string, users, workers int) (time.Duration, error) {
	c := iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("AKIAOPERATOR", "s", ""),
	})
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
	if _, err := c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: id, Status: types.StatusTypeInactive}); err != nil {
		return err
	}
	_, err = c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: id})
	return err
}
