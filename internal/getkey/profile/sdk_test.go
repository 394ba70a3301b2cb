package profile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	awsconf "github.com/aws/aws-sdk-go-v2/config"
)

// TestTheGoSDKReadsIt: AWS's SDK for Go has a reader of its own, which is less
// strict. test/e2e has botocore's.
func TestTheGoSDKReadsIt(t *testing.T) {
	t.Parallel()
	all, err := filepath.Glob("testdata/corpus/*/want")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range all {
		dir := filepath.Dir(want)
		name := "ci"
		if named, err := os.ReadFile(filepath.Join(dir, "profile")); err == nil {
			name = strings.TrimSpace(string(named))
		}
		if strings.Contains(name, " ") {
			continue // it is said that not all SDKs find it
		}
		got, err := awsconf.LoadSharedConfigProfile(t.Context(), name, func(o *awsconf.LoadSharedConfigOptions) {
			o.ConfigFiles, o.CredentialsFiles = []string{want}, []string{filepath.Join(dir, "credentials")}
		})
		was, errBefore := awsconf.LoadSharedConfigProfile(t.Context(), name, func(o *awsconf.LoadSharedConfigOptions) {
			o.ConfigFiles, o.CredentialsFiles = []string{filepath.Join(dir, "config")}, []string{filepath.Join(dir, "credentials")}
		})
		if err != nil || got.CredentialProcess != command || got.Credentials.HasKeys() {
			t.Errorf("%s: %v, credential_process = %q", dir, err, got.CredentialProcess)
		}
		if errBefore == nil && was.Region != got.Region {
			t.Errorf("%s: region is %q, was %q", dir, got.Region, was.Region)
		}
	}
}
