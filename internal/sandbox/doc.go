// Package sandbox is an AWS inside the process: versitygw's IAM and STS, and
// versitygw's S3 in front of a bucket in memory, where only the active access
// keys of the IAM's users are let in. It listens on loopback addresses, so the
// real SDKs reach it over HTTP like they reach AWS.
//
// It knows nothing about rotation. Built with the tag nosandbox, the package
// is an empty shell and versitygw is not linked.
package sandbox

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// ErrAbsent is returned by Start in binaries built with the tag nosandbox.
var ErrAbsent = errors.New("this binary was built without the sandbox (build tag nosandbox)")

// Bucket is the name of the one bucket in the sandbox.
const Bucket = "demo"

// Region is the region to sign for.
const Region = "us-east-1"

// ManagedTag is the tag, with value "true", that users of the sandbox carry.
const ManagedTag = "keyrot:managed"

// Options configures a sandbox.
type Options struct {
	// Users are created at the start, without keys, tagged ManagedTag.
	Users []string
	// Dir is where IAM keeps its state, in a temporary folder that Close
	// removes. Empty: the system's folder for temporary files.
	Dir string
}

// AWS is a running sandbox. Its methods are safe for concurrent use.
type AWS struct {
	// RootCredentials may do everything in the sandbox.
	RootCredentials aws.Credentials

	iam, s3 string
	stop    func() error
}

// Endpoint is the URL of IAM and STS.
func (a *AWS) Endpoint() string { return a.iam }

// S3Endpoint is the URL of S3. Use path-style addressing.
func (a *AWS) S3Endpoint() string { return a.s3 }

// Close stops the servers, waits for them and removes the state. It must be
// called once.
func (a *AWS) Close() error { return a.stop() }
