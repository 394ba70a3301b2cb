// Command gov1 is the SDK for Go, version 1: it lists a bucket for ever, and
// prints a line for each failure.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
)

func main() {
	client := s3.New(session.Must(session.NewSession()), &aws.Config{
		Endpoint: aws.String(os.Getenv("CALLER_S3")), Region: aws.String("us-east-1"), S3ForcePathStyle: aws.Bool(true), MaxRetries: aws.Int(0),
	})
	for ; ; time.Sleep(500 * time.Millisecond) {
		if _, err := client.ListObjectsV2(&s3.ListObjectsV2Input{Bucket: aws.String("demo")}); err != nil {
			fmt.Println(strings.Join(strings.Fields(err.Error()), " "))
		}
	}
}
